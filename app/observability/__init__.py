"""What operators read: logs, later traces and metrics."""
