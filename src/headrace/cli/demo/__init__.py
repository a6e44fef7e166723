"""`headrace demo`: a whole delivery network on this machine, on real parts."""

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
