"""What other thresholds would have decided, why one item and not another, and what nearly went otherwise."""
