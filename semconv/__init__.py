"""The registry of ``xray.*`` names and the generator of what is derived from it."""
