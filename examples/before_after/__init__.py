"""A pipeline of plain functions before X-Ray, with the least of it, and with all of it."""
