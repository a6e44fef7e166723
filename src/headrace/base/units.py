"""Sizes and rates as people write them, to and from plain numbers in base units."""

import re

from headrace.base.errors import UsageError

_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_DECIMAL = ("b/s", "kb/s", "Mb/s", "Gb/s", "Tb/s")
_SCALE = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


def show_bytes(size_bytes: float) -> str:
    """1536 -> '1.5 KiB'."""
    return _scaled(size_bytes, 1024, _BINARY)


def show_bps(rate_bps: float) -> str:
    """2500000 -> '2.5 Mb/s' (bits per second)."""
    return _scaled(rate_bps, 1000, _DECIMAL)


def show_duration(duration_s: float) -> str:
    """3725 -> '1h 02m', 65 -> '1m 05s', 4.2 -> '4.2s'."""
    if duration_s < 60:
        return f"{duration_s:.1f}s"
    minutes, seconds = divmod(round(duration_s), 60)
    if minutes < 60:
        return f"{minutes}m {seconds:02d}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes:02d}m" if hours < 48 else f"{hours // 24}d {hours % 24:02d}h"


def show_count(count: int, one: str, many: str = "") -> str:
    """1, 'title' -> '1 title'; 0 or 2 -> '2 titles'; `many` where an s does not do."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def parse_amount(text: str, *, unit: str) -> int:
    """Read '1.2G', '500 Mb/s', '64MiB' as a whole number of base units (bytes or bits per second).

    Raises:
        UsageError: not a number with an optional k/M/G/T or Ki/Mi/Gi/Ti prefix.
    """
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kmgt]i?)?(?:b(?:/s|ps)?)?\s*", text, re.IGNORECASE)
    if not match:
        raise UsageError(f"{text[:60]!r} is not an amount of {unit}: write for example 500M, 1.2G or 64MiB")
    return int(float(match[1]) * _SCALE[(match[2] or "").lower()])


def _scaled(value: float, step: int, names: tuple[str, ...]) -> str:
    index = 0
    while abs(value) >= step and index < len(names) - 1:
        value /= step
        index += 1
    return f"{value:.0f} {names[index]}" if index == 0 else f"{value:.1f} {names[index]}"
