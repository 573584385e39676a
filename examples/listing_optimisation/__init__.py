"""Finds a better title for a product's listing, within the shop's policy."""
