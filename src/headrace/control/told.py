"""What summaries that are told the control plane have in common: a time, hours, bytes. Pure; names what is wrong."""

from collections.abc import Sequence

from headrace.base.errors import UsageError

HOUR_S = 3_600
_SKEW_S = 300.0
"""Clocks of whoever counts and of the control plane may be so far apart."""
_MOST_BYTES = 2**60


def check_made(made_s: float, *, now_s: float) -> None:
    """Check when a summary was made.

    Raises:
        UsageError: later than now, or no time.
    """
    if not 0 <= made_s <= now_s + _SKEW_S:
        raise UsageError(f"made_s: {made_s} is not before now ({now_s:.0f}); is the clock right there?")


def check_hours(hours: Sequence[int], *, made_s: float, most: int) -> None:
    """Check the hours (since the epoch) of a summary.

    Raises:
        UsageError: more than `most`, not in order, or not the last ones up to `made_s`.
    """
    if len(hours) > most:
        raise UsageError(f"hours: {len(hours)} are over the limit of {most}")
    if list(hours) != sorted(set(hours)):
        raise UsageError("hours: each once, in ascending order")
    newest = int(made_s // HOUR_S)
    for hour in hours:
        if not newest - most < hour <= newest:
            raise UsageError(f"hours: {hour} is none of the {most} hours up to made_s")


def check_bytes(name: str, size: int, *, most: int = _MOST_BYTES) -> None:
    """Check a number of bytes.

    Raises:
        UsageError: below 0 or over `most`.
    """
    if not 0 <= size <= most:
        raise UsageError(f"{name}: {size} is not between 0 and {most}")
