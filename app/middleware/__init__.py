"""Pure ASGI middleware, one a file: nothing here runs per streamed chunk but a function call."""
