"""The HTTP API, a module for each question; who may ask stands in control/access.py."""
