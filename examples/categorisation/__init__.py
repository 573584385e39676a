"""Puts a product into one category of the shop's tree, or hands it to a person."""
