"""What may be told of offload: bounded, and within its own sums. Pure; names what is wrong."""

from headrace.base.errors import UsageError
from headrace.base.ids import site_id
from headrace.wire.offload import HOURS, MOST_SITES, OffloadSummary

_HOUR_S = 3_600
_SKEW_S = 300.0
"""Clocks of whoever counts and of the control plane may be so far apart."""
_MOST_BYTES = 2**60


def check_offload(summary: OffloadSummary, *, now_s: float) -> None:
    """Check a summary as it was told.

    Raises:
        UsageError: the first thing that is wrong.
    """
    if not 0 <= summary.made_s <= now_s + _SKEW_S:
        raise UsageError(f"made_s: {summary.made_s} is not before now ({now_s:.0f}); is the clock right there?")
    if len(summary.hours) > HOURS:
        raise UsageError(f"hours: {len(summary.hours)} are over the limit of {HOURS}")
    if len(summary.sites) > MOST_SITES:
        raise UsageError(f"sites: {len(summary.sites)} are over the limit of {MOST_SITES}")
    newest = int(summary.made_s // _HOUR_S)
    hours = [one.hour for one in summary.hours]
    if hours != sorted(set(hours)):
        raise UsageError("hours: each once, in ascending order")
    for one in summary.hours:
        if not newest - HOURS < one.hour <= newest:
            raise UsageError(f"hours: {one.hour} is none of the {HOURS} hours up to made_s")
        for tier, size in one.bytes_by_tier.items():
            _check_bytes(f"hours: {one.hour}: {tier}", size)
    if len({one.site_id for one in summary.sites}) != len(summary.sites):
        raise UsageError("sites: a site is named twice")
    for site in summary.sites:
        site_id(site.site_id)
        _check_bytes(f"site {site.site_id}: total_bytes", site.total_bytes)
        _check_bytes(f"site {site.site_id}: own_bytes", site.own_bytes, most=site.total_bytes)


def _check_bytes(name: str, size: int, *, most: int = _MOST_BYTES) -> None:
    if not 0 <= size <= most:
        raise UsageError(f"{name}: {size} is not between 0 and {most}")
