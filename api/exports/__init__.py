"""Exports: all rows of a question as a file, rendered while they are read."""
