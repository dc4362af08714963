"""Manta's gateway: the FastAPI service and its domain. It knows neither Ray nor vLLM."""
