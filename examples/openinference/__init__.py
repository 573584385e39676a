"""A program whose spans follow OpenInference; see README.md."""
