"""Alert rules: when somebody wants to be told, and how they are."""
