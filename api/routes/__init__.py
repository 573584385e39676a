"""One module per kind of question; each route parses, asks the reader, and shapes the answer."""
