"""Settings of `headrace steer`: one TOML file laid over defaults.toml, checked here and nowhere else."""

import ipaddress
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal

from headrace.base.config import parse_config
from headrace.base.errors import ConfigError
from headrace.steering.rank import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenSettings:
    """Where players ask."""

    host: str
    port: int
    workers: int
    tls_certificate: str
    tls_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlSettings:
    """Where snapshots come from."""

    urls: tuple[str, ...]
    token_file: str
    ca_file: str
    timeout_s: float
    poll_interval_s: float
    retry_most_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotSettings:
    """Where the last snapshot lies."""

    folder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerSettings:
    """What answers look like."""

    pathways: int
    sites: int
    room_ratio: float
    has_origin_pathway: bool
    distance_step_km: float
    ttl_s: int
    slow_ratio: float
    public_url: str
    most_kept_bytes: int

    @property
    def limits(self) -> Limits:
        """What ranking needs of these."""
        return Limits(
            pathways=self.pathways,
            sites=self.sites,
            room_ratio=self.room_ratio,
            distance_step_km=self.distance_step_km,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """How a client's address and place are known."""

    trusted_proxies: tuple[str, ...]
    address_header: Literal["x-forwarded-for", "forwarded"]
    location_database: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitSettings:
    """What is too much."""

    per_client_per_10s: int
    overload_lag_s: float
    url_bytes: int
    retry_after_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainSettings:
    """Who may look inside."""

    token_file: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaybackConfig:
    """All settings of a steering node."""

    listen: ListenSettings
    control: ControlSettings
    snapshot: SnapshotSettings
    answers: AnswerSettings
    clients: ClientSettings
    limits: LimitSettings
    explain: ExplainSettings


def default_text() -> str:
    """defaults.toml, which lists every key."""
    return resources.files("headrace.playback").joinpath("defaults.toml").read_text(encoding="utf-8")


def parse_playback_config(text: str, *, source: str) -> PlaybackConfig:
    """Read settings from TOML text.

    Raises:
        ConfigError: the message names file, key and mend.
    """
    config = parse_config(PlaybackConfig, text, source=source, defaults=default_text())
    required = {
        "control.urls": config.control.urls,
        "control.token_file": config.control.token_file,
        "snapshot.folder": config.snapshot.folder,
    }
    for key, value in required.items():
        if not value:
            raise ConfigError(f"{source}: key {key!r} is required")
    _check_ranges(config, source)
    if bool(config.listen.tls_certificate) != bool(config.listen.tls_key):
        raise ConfigError(f"{source}: keys 'listen.tls_certificate' and 'listen.tls_key' go together")
    for prefix in config.clients.trusted_proxies:
        try:
            ipaddress.ip_network(prefix, strict=False)
        except ValueError as error:
            raise ConfigError(f"{source}: key 'clients.trusted_proxies': {error}") from None
    url = config.answers.public_url
    if url and not url.startswith(("http://", "https://")):
        raise ConfigError(f"{source}: key 'answers.public_url' must start with http:// or https://")
    return config


def load_playback_config(path: Path) -> PlaybackConfig:
    """Read settings from a file; raises ConfigError as `parse_playback_config` does."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from None
    return parse_playback_config(text, source=str(path))


def _check_ranges(config: PlaybackConfig, source: str) -> None:
    answers, limits = config.answers, config.limits
    for key, value, least, most in (
        ("listen.port", config.listen.port, 1, 65535),
        ("listen.workers", config.listen.workers, 0, 1024),
        ("control.timeout_s", config.control.timeout_s, 0.1, 300),
        ("control.poll_interval_s", config.control.poll_interval_s, 0.05, 3600),
        ("control.retry_most_s", config.control.retry_most_s, 0.1, 3600),
        ("answers.pathways", answers.pathways, 1, 12),
        ("answers.sites", answers.sites, 1, 12),
        ("answers.room_ratio", answers.room_ratio, 0.01, 10),
        ("answers.distance_step_km", answers.distance_step_km, 0.001, 25_000),
        ("answers.ttl_s", answers.ttl_s, 1, 86_400),
        ("answers.slow_ratio", answers.slow_ratio, 0, 100),
        ("answers.most_kept_bytes", answers.most_kept_bytes, 1, 2**40),
        ("limits.per_client_per_10s", limits.per_client_per_10s, 0, 1_000_000_000),
        ("limits.overload_lag_s", limits.overload_lag_s, 0.01, 3600),
        ("limits.url_bytes", limits.url_bytes, 256, 65_536),
        ("limits.retry_after_s", limits.retry_after_s, 1, 86_400),
    ):
        if not least <= value <= most:
            raise ConfigError(f"{source}: key {key!r} is {value}, must be {least} to {most}")
