"""Headrace: the delivery loop and the release loop of a video network of caches. docs/architecture.md is the map."""

__version__ = "0.1.0"
