"""X-Ray in step engines. Each module needs its engine installed, and nothing here imports them all."""
