"""Manta on Ray Serve: the only package that imports ray."""
