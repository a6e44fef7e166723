"""CMCD (CTA-5004, version 1): what a player says about itself with each request, read and written."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Cmcd:
    """One request's values."""


def decode_request(*, headers: tuple[str, ...], query: str) -> Cmcd:
    """Read."""
    return Cmcd()
