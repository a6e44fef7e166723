"""What may be told of offload: bounded, and within its own sums. Pure; names what is wrong."""

from headrace.base.errors import UsageError
from headrace.base.ids import site_id
from headrace.control.told import check_bytes, check_hours, check_made
from headrace.wire.offload import HOURS, MOST_SITES, OffloadSummary


def check_offload(summary: OffloadSummary, *, now_s: float) -> None:
    """Check a summary as it was told.

    Raises:
        UsageError: the first thing that is wrong.
    """
    check_made(summary.made_s, now_s=now_s)
    if len(summary.sites) > MOST_SITES:
        raise UsageError(f"sites: {len(summary.sites)} are over the limit of {MOST_SITES}")
    check_hours([one.hour for one in summary.hours], made_s=summary.made_s, most=HOURS)
    for one in summary.hours:
        for tier, size in one.bytes_by_tier.items():
            check_bytes(f"hours: {one.hour}: {tier}", size)
    if len({one.site_id for one in summary.sites}) != len(summary.sites):
        raise UsageError("sites: a site is named twice")
    for site in summary.sites:
        site_id(site.site_id)
        check_bytes(f"site {site.site_id}: total_bytes", site.total_bytes)
        check_bytes(f"site {site.site_id}: own_bytes", site.own_bytes, most=site.total_bytes)
