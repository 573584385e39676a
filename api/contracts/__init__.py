"""Decision contracts: what must hold of runs, checked on what is stored."""
