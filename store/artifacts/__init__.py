"""Payloads of artifacts outside the database: any object store that a URL names (decision 0045)."""
