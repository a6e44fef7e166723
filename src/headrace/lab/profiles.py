"""Networks by name: what a profile says, and the words for the kernel's netem that make it so. Pure.

Shipped ones stand in profiles.toml; users add a file of the same form. Applying them is the road's part (road.py).
"""

import math
import tomllib
from dataclasses import dataclass, fields, replace
from importlib import resources
from pathlib import Path
from typing import ClassVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from headrace.base.errors import ConfigError, UsageError

_PACKET_BITS = 1514 * 8
_MOST_PACKETS = 100_000
_UNBOUND_PACKETS = 20_000
"""Room for packets on their way where there is no rate: 1.2 Gb/s at 200 ms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Direction:
    """One way of a link; every field is explained in profiles.toml."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", allow_inf_nan=False)

    rate_bps: float = 0.0
    delay_s: float = 0.0
    jitter_s: float = 0.0
    loss_ratio: float = 0.0
    burst_start_ratio: float = 0.0
    burst_end_ratio: float = 0.0
    burst_loss_ratio: float = 1.0
    reorder_ratio: float = 0.0
    duplicate_ratio: float = 0.0
    queue_s: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            most = 1.0 if field.name.endswith("_ratio") else math.inf
            if not 0 <= value <= most:
                raise ValueError(f"{field.name} = {value:g}: write a number from 0" + (" to 1" if most == 1 else ""))
        if bool(self.burst_start_ratio) != bool(self.burst_end_ratio):
            raise ValueError("burst_start_ratio and burst_end_ratio belong together: write both")
        if self.burst_start_ratio and self.loss_ratio:
            raise ValueError("loss_ratio and burst_start_ratio exclude each other: the kernel has one model of loss")
        if (self.reorder_ratio or self.jitter_s) and not self.delay_s:
            raise ValueError("reorder_ratio and jitter_s need delay_s: only packets that wait can be overtaken")
        if 0 < self.rate_bps < 8_000:
            raise ValueError(f"rate_bps = {self.rate_bps:g}: write bits per second, at least 8000")

    @property
    def is_plain(self) -> bool:
        """Nothing is done to packets."""
        return self == Direction()


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Both ways of a link."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    about: str = ""
    down: Direction = Direction()
    up: Direction = Direction()
    name: str = ""

    @property
    def is_plain(self) -> bool:
        """Nothing is done to packets either way, so no road is needed."""
        return self.down.is_plain and self.up.is_plain


LAN = Profile(name="lan")
"""No impairment."""


def read_profiles(own: Path | None = None) -> dict[str, Profile]:
    """All profiles by name, those of the file `own` over the shipped ones.

    Raises:
        ConfigError: not such a file; names file, profile and key.
        UsageError: `own` cannot be read.
    """
    text = resources.files("headrace.lab").joinpath("profiles.toml").read_text(encoding="utf-8")
    found = _parse(text, source="profiles.toml")
    if own is not None:
        try:
            found |= _parse(own.read_text(encoding="utf-8"), source=str(own))
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot read the profiles {own}: {error}") from None
    return found


def choose_profile(name: str, profiles: dict[str, Profile]) -> Profile:
    """The profile of that name.

    Raises:
        UsageError: there is none; lists those there are.
    """
    if name not in profiles:
        raise UsageError(f"there is no network profile {name!r}: choose from {', '.join(sorted(profiles))}")
    return profiles[name]


def netem_words(direction: Direction) -> list[str]:
    """What follows `tc qdisc add dev DEV root`; see tc-netem(8)."""
    words = ["netem", "limit", str(queue_packets(direction))]
    if direction.delay_s:
        words += ["delay", _time(direction.delay_s), *([_time(direction.jitter_s)] if direction.jitter_s else [])]
    if direction.burst_start_ratio:
        words += ["loss", "gemodel", _share(direction.burst_start_ratio), _share(direction.burst_end_ratio)]
        words += [_share(direction.burst_loss_ratio), "0%"]
    elif direction.loss_ratio:
        words += ["loss", "random", _share(direction.loss_ratio)]
    if direction.duplicate_ratio:
        words += ["duplicate", _share(direction.duplicate_ratio)]
    if direction.reorder_ratio:
        words += ["reorder", _share(direction.reorder_ratio)]
    if direction.rate_bps:
        words += ["rate", f"{direction.rate_bps:.0f}bit"]
    return words


def queue_packets(direction: Direction) -> int:
    """Most packets held: those in the queue before the rate and those on their way, which netem counts together."""
    if not direction.rate_bps:
        return _UNBOUND_PACKETS
    held_s = direction.queue_s + direction.delay_s + direction.jitter_s
    return min(_MOST_PACKETS, max(10, math.ceil(direction.rate_bps * held_s / _PACKET_BITS)))


_shape = TypeAdapter(dict[str, Profile])


def _parse(text: str, *, source: str) -> dict[str, Profile]:
    try:
        found = _shape.validate_python(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source}: not valid TOML: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{source}: {key}: {first['msg'].removeprefix('Value error, ')}") from None
    return {name: replace(profile, name=name) for name, profile in found.items()}


def _time(duration_s: float) -> str:
    return f"{duration_s * 1e6:.0f}us"


def _share(ratio: float) -> str:
    return f"{ratio * 100:.6g}%"
