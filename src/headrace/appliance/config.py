"""Settings of `headrace agent`: one TOML file laid over defaults.toml, checked here and nowhere else."""

from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from pathlib import Path

from headrace.appliance.bgp.settings import BgpSettings, check_bgp
from headrace.base.config import parse_config
from headrace.base.errors import ConfigError, InvalidIdError
from headrace.base.ids import ApplianceId, appliance_id

MOST_BATCH_BYTES = 256 << 20


class OnMiss(StrEnum):
    """What nginx does with a request for a file that is not held."""

    REDIRECT = "redirect"
    PROXY = "proxy"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplianceSettings:
    """Who this appliance is."""

    id: str
    content_url: str
    capacity_bps: int
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlSettings:
    """Where the control plane is."""

    urls: tuple[str, ...]
    ca_file: str
    join_token_file: str
    timeout_s: float
    retry_most_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSettings:
    """The disks."""

    folders: tuple[str, ...]
    reserve_bytes: int
    require_mounts: bool
    check_interval_s: float
    check_timeout_s: float
    retry_interval_s: float
    verify_bps: int
    verify_pause_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FillSettings:
    """How missing files are fetched."""

    files_at_once: int
    range_bytes: int
    stall_timeout_s: float
    least_source_bps: int
    source_retry_s: float
    source_retry_most_s: float
    delete_grace_s: float
    turn_interval_s: float
    ca_file: str
    most_bps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NginxOptions:
    """The web server that serves the files."""

    binary: str
    listen: tuple[str, ...]
    tls_listen: tuple[str, ...]
    user: str
    workers: int
    on_miss: OnMiss
    resolvers: tuple[str, ...]
    disk_threads: bool
    keep_open_s: int
    tls_certificate: str
    tls_key: str
    stop_timeout_s: float
    keep_on_exit: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """Bounds of the access log."""

    rotate_bytes: int
    rotate_s: float
    keep_bytes: int
    keep_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ShipSettings:
    """Where the access log is shipped, and how much of a client's address."""

    url: str
    batch_bytes: int
    batch_s: float
    timeout_s: float
    client_bits_ipv4: int
    client_bits_ipv6: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsSettings:
    """Where Prometheus may ask."""

    listen: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentConfig:
    """Everything that an operator may set for one appliance; defaults.toml says what each key means."""

    appliance: ApplianceSettings
    control: ControlSettings
    store: StoreSettings
    fill: FillSettings
    nginx: NginxOptions
    log: LogSettings
    ship: ShipSettings
    metrics: MetricsSettings
    bgp: BgpSettings

    @property
    def appliance_id(self) -> ApplianceId:
        """The checked identity."""
        return ApplianceId(self.appliance.id)

    @property
    def state(self) -> Path:
        """Folder of the agent's own state."""
        return Path(self.appliance.state)


def default_text() -> str:
    """The text of defaults.toml."""
    return resources.files("headrace.appliance").joinpath("defaults.toml").read_text(encoding="utf-8")


def read_config(text: str, *, source: str) -> AgentConfig:
    """Parse and check the configuration `text`; paths must be absolute, so that the working folder never matters.

    Raises:
        ConfigError: names the key at fault and the mend.
    """
    config = parse_config(AgentConfig, text, source=source, defaults=default_text())
    try:
        appliance_id(config.appliance.id)
    except InvalidIdError as error:
        raise ConfigError(f"{source}: key 'appliance.id': {error}") from None
    _check_required(config, source)
    _check_paths(config, source)
    _check_numbers(config, source)
    check_bgp(config.bgp, source)
    if config.nginx.tls_listen and not (config.nginx.tls_certificate and config.nginx.tls_key):
        raise ConfigError(f"{source}: nginx.tls_listen needs nginx.tls_certificate and nginx.tls_key")
    return config


def _check_required(config: AgentConfig, source: str) -> None:
    required = {
        "appliance.content_url": config.appliance.content_url,
        "appliance.state": config.appliance.state,
        "control.urls": config.control.urls,
        "store.folders": config.store.folders,
        "nginx.listen": config.nginx.listen + config.nginx.tls_listen,
    }
    for key, value in required.items():
        if not value:
            raise ConfigError(f"{source}: key {key!r} must be set")
    urls = {"appliance.content_url": (config.appliance.content_url,), "control.urls": config.control.urls}
    for key, values in urls.items():
        for url in values:
            if not url.startswith(("http://", "https://")):
                raise ConfigError(f"{source}: key {key!r}: {url!r} must start with http:// or https://")


def _check_paths(config: AgentConfig, source: str) -> None:
    paths = {
        "appliance.state": config.appliance.state,
        "control.ca_file": config.control.ca_file,
        "control.join_token_file": config.control.join_token_file,
        "fill.ca_file": config.fill.ca_file,
        "nginx.tls_certificate": config.nginx.tls_certificate,
        "nginx.tls_key": config.nginx.tls_key,
    }
    if "://" not in config.ship.url:
        paths["ship.url"] = config.ship.url
    for key, path in [*paths.items(), *(("store.folders", folder) for folder in config.store.folders)]:
        if path and not Path(path).is_absolute():
            raise ConfigError(f"{source}: key {key!r}: {path!r} must be an absolute path")
    if len(set(config.store.folders)) != len(config.store.folders):
        raise ConfigError(f"{source}: key 'store.folders' names a folder twice")


def _check_numbers(config: AgentConfig, source: str) -> None:
    positive = {
        "appliance.capacity_bps": config.appliance.capacity_bps,
        "control.timeout_s": config.control.timeout_s,
        "control.retry_most_s": config.control.retry_most_s,
        "store.check_interval_s": config.store.check_interval_s,
        "store.check_timeout_s": config.store.check_timeout_s,
        "store.retry_interval_s": config.store.retry_interval_s,
        "fill.files_at_once": config.fill.files_at_once,
        "fill.range_bytes": config.fill.range_bytes,
        "fill.stall_timeout_s": config.fill.stall_timeout_s,
        "fill.source_retry_s": config.fill.source_retry_s,
        "fill.source_retry_most_s": config.fill.source_retry_most_s,
        "fill.turn_interval_s": config.fill.turn_interval_s,
        "log.rotate_bytes": config.log.rotate_bytes,
        "log.rotate_s": config.log.rotate_s,
        "nginx.keep_open_s": config.nginx.keep_open_s,
        "ship.batch_bytes": config.ship.batch_bytes,
        "ship.batch_s": config.ship.batch_s,
        "ship.timeout_s": config.ship.timeout_s,
    }
    not_negative = {
        "store.reserve_bytes": config.store.reserve_bytes,
        "store.verify_bps": config.store.verify_bps,
        "store.verify_pause_s": config.store.verify_pause_s,
        "fill.least_source_bps": config.fill.least_source_bps,
        "fill.most_bps": config.fill.most_bps,
        "fill.delete_grace_s": config.fill.delete_grace_s,
        "log.keep_bytes": config.log.keep_bytes,
        "log.keep_s": config.log.keep_s,
        "ship.client_bits_ipv4": config.ship.client_bits_ipv4,
        "ship.client_bits_ipv6": config.ship.client_bits_ipv6,
        "nginx.workers": config.nginx.workers,
        "nginx.stop_timeout_s": config.nginx.stop_timeout_s,
    }
    for key, value in positive.items():
        if value <= 0:
            raise ConfigError(f"{source}: key {key!r} must be greater than 0")
    for key, value in not_negative.items():
        if value < 0:
            raise ConfigError(f"{source}: key {key!r} must not be negative")
    if config.ship.client_bits_ipv4 > 32 or config.ship.client_bits_ipv6 > 128:
        raise ConfigError(f"{source}: keys 'ship.client_bits_...' must be at most 32 (IPv4) and 128 (IPv6)")
    if config.ship.batch_bytes > MOST_BATCH_BYTES:
        raise ConfigError(f"{source}: key 'ship.batch_bytes' must be at most {MOST_BATCH_BYTES}: it is read at once")
