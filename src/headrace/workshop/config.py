"""Settings of the workshop: `workshop.toml` in the release folder, over `defaults.toml`."""

from dataclasses import dataclass
from importlib.resources import files

from headrace.base.config import parse_config
from headrace.base.errors import ConfigError
from headrace.base.units import parse_amount

DEFAULTS = files("headrace.workshop").joinpath("defaults.toml").read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildConfig:
    """How builds run and what the store keeps; units as in `defaults.toml`."""

    jobs: int
    nice: int
    time_limit_s: float
    wait_s: float
    min_free: str
    store_limit: str
    ccache_limit: str
    work_trees: int

    @property
    def min_free_bytes(self) -> int:
        return parse_amount(self.min_free, unit="bytes")

    @property
    def store_limit_bytes(self) -> int:
        return parse_amount(self.store_limit, unit="bytes")

    @property
    def ccache_limit_bytes(self) -> int:
        return parse_amount(self.ccache_limit, unit="bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkshopConfig:
    """All settings of the workshop."""

    build: BuildConfig


def read_workshop_config(text: str, *, source: str) -> WorkshopConfig:
    """Parse settings over the defaults.

    Raises:
        ConfigError: unknown key, wrong type or a value out of range.
    """
    config = parse_config(WorkshopConfig, text, source=source, defaults=DEFAULTS)
    build = config.build
    _check(0 <= build.jobs <= 4096, source, "build.jobs", "0 (one for each processor) to 4096")
    _check(-20 <= build.nice <= 19, source, "build.nice", "-20 to 19")
    _check(build.time_limit_s > 0, source, "build.time_limit_s", "more than 0")
    _check(build.wait_s >= 0, source, "build.wait_s", "0 or more")
    _check(build.work_trees >= 1, source, "build.work_trees", "1 or more")
    for amount in (build.min_free, build.store_limit, build.ccache_limit):
        parse_amount(amount, unit="bytes")
    return config


def _check(is_right: bool, source: str, key: str, form: str) -> None:
    if not is_right:
        raise ConfigError(f"{source}: key {key!r}: must be {form}")
