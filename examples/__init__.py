"""Programs that use X-Ray as a team would; each is run with ``python -m examples.<name>``."""
