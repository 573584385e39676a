"""The questions that can be asked by REST, and how they are answered."""
