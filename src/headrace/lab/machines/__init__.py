"""Kinds of machines, each an adapter behind `ports.Machine`; the registry is `assembly.py`."""
