"""The usage ledger: every request's event, from this process's disk over the database to sums by day."""
