"""The HTTP surface, one resource a file: parse, call one service, return."""
