"""Who may come in, and by which kind of connection: shared by every package that listens."""
