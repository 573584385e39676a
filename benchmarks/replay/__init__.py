"""Is a replay what truly running the pipeline again gives? Pipelines of all kinds, with their traps."""
