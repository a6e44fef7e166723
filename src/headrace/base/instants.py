"""Points in time and durations as people write them. A time without a zone is never guessed at."""

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from headrace.base.errors import UsageError

_PARTS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_MEND = "add Z or +01:00, or name the zone with --zone Europe/Amsterdam"


def read_zone(name: str) -> ZoneInfo:
    """The time zone of that name; raises UsageError."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UsageError(f"{name[:60]!r} is not a time zone: write UTC or Europe/Amsterdam") from None


def read_instant(text: str, zone: str = "") -> float:
    """UTC epoch seconds of `2026-12-01T02:00Z`, `2026-12-01 02:00+01:00`, or a local time of the named zone.

    Raises:
        UsageError: no such time, without a zone, or one that occurs twice or never in that zone.
    """
    try:
        read = datetime.fromisoformat(text.strip())
    except ValueError:
        raise UsageError(f"{text[:60]!r} is not a time: write 2026-12-01T02:00Z") from None
    if read.tzinfo is not None:
        return read.timestamp()
    if not zone:
        raise UsageError(f"{text[:60]!r} has no time zone: {_MEND}")
    local = read.replace(tzinfo=read_zone(zone))
    first, second = local.replace(fold=0), local.replace(fold=1)
    if first.utcoffset() == second.utcoffset():
        return local.timestamp()
    is_real = first.astimezone(UTC).astimezone(local.tzinfo).replace(tzinfo=None) == read
    how = "occurs twice" if is_real else "does not exist"
    raise UsageError(f"{text[:60]!r} {how} in {zone}, where clocks are set that night: give it with its offset, +01:00")


def show_instant(at_s: float, zone: str = "UTC") -> str:
    """1764554400 -> '2025-12-01 02:00 UTC', in the words of the zone."""
    try:
        local = datetime.fromtimestamp(at_s, tz=read_zone(zone))
    except (UsageError, OverflowError, OSError, ValueError):
        return f"{at_s:.0f}"
    return f"{local:%Y-%m-%d %H:%M} {local.tzname() or zone}"


def read_duration(text: str) -> float:
    """Seconds of `90m`, `3h`, `1h30m`, `2d`.

    Raises:
        UsageError: no duration, or none at all.
    """
    if not re.fullmatch(r"(?:\d{1,6}(?:\.\d+)?[smhd])+", text.strip()):
        raise UsageError(f"{text[:60]!r} is not a duration: write 90m, 3h, 1h30m or 2d")
    parts = re.findall(r"([\d.]+)([smhd])", text)
    return timedelta(seconds=sum(float(amount) * _PARTS[unit] for amount, unit in parts)).total_seconds()
