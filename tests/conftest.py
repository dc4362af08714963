"""Fixtures for every test: see ``tests.support``."""

pytest_plugins = ["tests.support.loop", "tests.support.mongo", "tests.support.gateway"]
