"""How two runs, or two groups of runs, differ."""
