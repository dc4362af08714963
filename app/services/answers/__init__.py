"""Answers that are kept: on this process's disk as they come, in the database when they are over."""
