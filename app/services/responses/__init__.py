"""Responses: OpenAI's API of items, on top of an engine's chat."""
