"""A web service and a queue's worker that record one run; see README.md."""
