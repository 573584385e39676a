"""Records to the store's rows: what a span or event is to us, and its fields typed and bounded; no I/O."""
