"""The decision schema in Postgres: what is written, merged, and asked of it."""
