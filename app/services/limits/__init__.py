"""May they, now? Limits, counted exactly over all processes and mostly without asking the database."""
