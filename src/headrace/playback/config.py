"""Settings of `headrace steer`: one TOML file laid over defaults.toml, checked here and nowhere else."""

import ipaddress
import os
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal

from headrace.base.config import parse_config
from headrace.base.errors import ConfigError
from headrace.steering.load import Ledger, LoadRules
from headrace.steering.rank import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenSettings:
    """Where players ask."""

    host: str
    port: int
    workers: int
    tls_certificate: str
    tls_key: str
    connections: int
    """At most, per worker."""
    idle_s: int


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
    """Where the last snapshot lies, and those before it."""

    folder: str
    history_s: float
    history_bytes: int


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


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadSettings:
    """How sessions leave an appliance that nears its capacity."""

    shed_from_ratio: float
    move_from_ratio: float
    move_until_ratio: float
    hysteresis_ratio: float
    nodes: int
    session_bps: float
    settle_s: float
    forget_after_s: float
    sessions_per_client: int


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
class LogSettings:
    """The log of sessions given out."""

    file: str
    most_bytes: int


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
    load: LoadSettings
    clients: ClientSettings
    limits: LimitSettings
    explain: ExplainSettings
    log: LogSettings

    @property
    def rank_limits(self) -> Limits:
        """What ranking needs of these."""
        rules = LoadRules(
            shed_from_ratio=self.load.shed_from_ratio,
            room_ratio=self.answers.room_ratio,
            move_from_ratio=self.load.move_from_ratio,
            move_until_ratio=self.load.move_until_ratio,
            hysteresis_ratio=self.load.hysteresis_ratio,
        )
        return Limits(
            pathways=self.answers.pathways,
            sites=self.answers.sites,
            distance_step_km=self.answers.distance_step_km,
            load=rules,
        )

    def new_ledger(self) -> Ledger:
        """The book of one worker."""
        workers = self.listen.workers or os.cpu_count() or 1
        return Ledger(
            self.rank_limits.load,
            workers=workers * self.load.nodes,
            settle_s=self.load.settle_s,
            most_age_s=self.load.forget_after_s,
        )


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
    answers, limits, load = config.answers, config.limits, config.load
    for key, value, least, most in (
        ("listen.port", config.listen.port, 1, 65535),
        ("listen.workers", config.listen.workers, 0, 1024),
        ("listen.connections", config.listen.connections, 1, 10_000_000),
        ("listen.idle_s", config.listen.idle_s, 1, 86_400),
        ("control.timeout_s", config.control.timeout_s, 0.1, 300),
        ("control.poll_interval_s", config.control.poll_interval_s, 0.05, 3600),
        ("control.retry_most_s", config.control.retry_most_s, 0.1, 3600),
        ("snapshot.history_s", config.snapshot.history_s, 0, 366 * 86_400),
        ("snapshot.history_bytes", config.snapshot.history_bytes, 0, 2**50),
        ("answers.pathways", answers.pathways, 1, 12),
        ("answers.sites", answers.sites, 1, 12),
        ("answers.room_ratio", answers.room_ratio, 0.01, 10),
        ("answers.distance_step_km", answers.distance_step_km, 0.001, 25_000),
        ("answers.ttl_s", answers.ttl_s, 1, 86_400),
        ("answers.slow_ratio", answers.slow_ratio, 0, 100),
        ("answers.most_kept_bytes", answers.most_kept_bytes, 1, 2**40),
        ("load.shed_from_ratio", load.shed_from_ratio, 0.01, answers.room_ratio),
        ("load.move_from_ratio", load.move_from_ratio, answers.room_ratio, 100),
        ("load.move_until_ratio", load.move_until_ratio, load.move_from_ratio + 0.001, 1000),
        ("load.hysteresis_ratio", load.hysteresis_ratio, 0, 1),
        ("load.nodes", load.nodes, 1, 10_000),
        ("load.session_bps", load.session_bps, 0, 10**12),
        ("load.settle_s", load.settle_s, 0, 3600),
        ("load.forget_after_s", load.forget_after_s, 1, 86_400),
        ("load.sessions_per_client", load.sessions_per_client, 1, 10**9),
        ("limits.per_client_per_10s", limits.per_client_per_10s, 0, 1_000_000_000),
        ("limits.overload_lag_s", limits.overload_lag_s, 0.01, 3600),
        ("limits.url_bytes", limits.url_bytes, 256, 65_536),
        ("log.most_bytes", config.log.most_bytes, 1, 2**50),
        ("limits.retry_after_s", limits.retry_after_s, 1, 86_400),
    ):
        if not least <= value <= most:
            raise ConfigError(f"{source}: key {key!r} is {value}, must be {least} to {most}")
