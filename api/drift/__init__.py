"""Whether steps give their reasons as often as they used to."""
