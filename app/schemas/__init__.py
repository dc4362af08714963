"""What callers may send, checked before any work is done for it."""
