"""What operators and agents may write: ids, prefixes, places, addresses. Pure; names what is wrong and the mend."""

import re
from ipaddress import ip_network
from urllib.parse import urlsplit

from headrace.base.errors import UsageError
from headrace.base.ids import appliance_id, site_id
from headrace.base.instants import read_zone
from headrace.fill.windows import read_hours
from headrace.fleet.model import FleetError, Site
from headrace.wire.codec import decode, encode
from headrace.wire.errors import MalformedError

MOST_PREFIXES = 200_000
VERSIONS_END = 2**31
"""What the store keeps versions in: any number from here on is nobody's version."""
_BOOT_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_BASE_URL = re.compile(r"https?://[A-Za-z0-9.\-\[\]:]+")
_MOST_BPS = 100 * 10**12


def check_site(site: Site) -> None:
    """Check a site as an operator wrote it.

    Raises:
        UsageError, FleetError: the first thing that is wrong.
    """
    site_id(site.site_id)
    if len(site.prefixes) > MOST_PREFIXES:
        raise FleetError(f"site {site.site_id}: {len(site.prefixes)} prefixes are over the limit of {MOST_PREFIXES}")
    for prefix in site.prefixes:
        try:
            ip_network(prefix)
        except ValueError as error:
            raise FleetError(
                f"site {site.site_id}: prefix {prefix[:60]!r} is not a network in CIDR form: {error}"
            ) from None
    if (site.latitude_deg is None) != (site.longitude_deg is None):
        raise FleetError(f"site {site.site_id}: latitude and longitude go together")
    for name, value, most in (("latitude", site.latitude_deg, 90), ("longitude", site.longitude_deg, 180)):
        if value is not None and not -most <= value <= most:
            raise FleetError(f"site {site.site_id}: {name} {value} is not between -{most} and {most} degrees")
    check_words(f"site {site.site_id}: region", site.region, most=63, may_be_empty=True)
    _check_fill(site)
    check_storable(f"site {site.site_id}", site)


def _check_fill(site: Site) -> None:
    if site.time_zone:
        read_zone(site.time_zone)
    if site.fill_window:
        hours = read_hours(site.fill_window)
        if hours is not None and not site.time_zone:
            raise FleetError(f"site {site.site_id}: a fill window is local time: name the time zone, Europe/Amsterdam")
    for name, value, most in (
        ("fill_bps", site.fill_bps, _MOST_BPS),
        ("fill_volume_bytes", site.fill_volume_bytes, 2**60),
    ):
        if not 0 <= value <= most:
            raise FleetError(f"site {site.site_id}: {name} {value} is not between 0 and {most}")


def check_address(name: str, content_url: str, capacity_bps: int) -> None:
    """Check the id, address and rate of an appliance; raises as `check_site` does."""
    appliance_id(name)
    if len(content_url) > 300 or not _BASE_URL.fullmatch(content_url) or not _has_host(content_url):
        raise FleetError(
            f"appliance {name}: content_url {content_url[:80]!r} is not a base URL: write http://192.0.2.10 or "
            "https://[2001:db8::1]:8443, without a path"
        )
    if not 0 < capacity_bps <= _MOST_BPS:
        raise FleetError(f"appliance {name}: capacity_bps {capacity_bps} is not between 1 and {_MOST_BPS}")


def _has_host(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def check_message(boot_id: str, sequence: int) -> None:
    """Check what orders an agent's messages; raises UsageError."""
    if not _BOOT_ID.fullmatch(boot_id):
        raise UsageError("boot_id: use 1-64 letters, digits and . _ : -")
    if not 1 <= sequence < 2**63:
        raise UsageError("sequence: use 1, 2, 3 ...")


def check_words(what: str, text: str, *, most: int = 200, may_be_empty: bool = False) -> None:
    """Check a short text for people; raises UsageError."""
    if len(text) > most or not text.isprintable() or not (text.strip() or may_be_empty):
        raise UsageError(f"{what}: use 1-{most} printable characters on one line")


def check_storable(what: str, value: object) -> None:
    """Check that a value comes back from JSON as it went in: no NaN, no infinity, no half of a character.

    A row that cannot be read again would take the whole fleet's view with it. Raises UsageError.
    """
    try:
        again = decode(type(value), encode(value))
    except (MalformedError, ValueError):
        again = None
    if again != value:
        raise UsageError(f"{what}: holds a number or text that JSON cannot keep (NaN, infinity, half a character)")
