"""Configuration of a control node: one TOML. Paths in it are relative to the file's own folder."""

from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path

from headrace.base.config import parse_config
from headrace.base.errors import ConfigError
from headrace.control.loops.settings import FleetSettings, LoopUrls
from headrace.control.routes import RouteSettings, check_settings


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenConfig:
    """Table [listen]."""

    host: str
    port: int
    tls_certificate: str
    tls_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreConfig:
    """Table [store]."""

    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UrlsConfig:
    """Table [urls]."""

    origin: str
    steering: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WebConfig:
    """Table [web]."""

    demo_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthConfig:
    """Table [auth]."""

    admin_token_file: str
    read_token_file: str
    session_s: float
    credential_age_s: float
    failures_per_minute: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsConfig:
    """Table [limits]."""

    request_timeout_s: float
    streams: int
    stop_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlConfig:
    """All settings of a control node."""

    listen: ListenConfig
    store: StoreConfig
    urls: UrlsConfig
    web: WebConfig
    auth: AuthConfig
    limits: LimitsConfig
    fleet: FleetSettings = field(default_factory=FleetSettings)
    routes: RouteSettings = field(default_factory=RouteSettings)

    @property
    def loop_urls(self) -> LoopUrls:
        """What desired states and snapshots name: misses go to a steering node, else to the origin."""
        origin = self.urls.origin.rstrip("/")
        return LoopUrls(origin=origin, redirect=self.urls.steering[0].rstrip("/") if self.urls.steering else origin)


def default_text() -> str:
    """The text of defaults.toml: every key, each with a comment."""
    return resources.files("headrace.control").joinpath("defaults.toml").read_text(encoding="utf-8")


def read_config(text: str, *, source: str) -> ControlConfig:
    """Read a control node's configuration; `source` names the file in errors and is the base of relative paths.

    Raises:
        ConfigError: not TOML, an unknown key, a value that cannot be used.
    """
    config = parse_config(ControlConfig, text, source=source, defaults=default_text())
    listen, limits = config.listen, config.limits
    if not 0 <= listen.port <= 65_535:
        raise ConfigError(f"{source}: key 'listen.port': {listen.port} is not a port")
    if bool(listen.tls_certificate) != bool(listen.tls_key):
        raise ConfigError(f"{source}: keys 'listen.tls_certificate' and 'listen.tls_key' go together")
    for key, url in (("origin", config.urls.origin), *(("steering", url) for url in config.urls.steering)):
        if url and not url.startswith(("http://", "https://")):
            raise ConfigError(f"{source}: key 'urls.{key}': {url!r} is not an http or https URL")
    check_settings(config.routes, source=source)
    if min(limits.request_timeout_s, limits.stop_s, limits.streams) <= 0:
        raise ConfigError(f"{source}: the numbers of table [limits] must be above 0")
    return config


def located_store(url: str, folder: Path) -> str:
    """A store URL whose SQLite file, when its path is relative, lies in `folder`."""
    name = url.removeprefix("sqlite:///")
    return f"sqlite:///{folder.absolute() / name}" if name != url else url


def located_fleet(fleet: FleetSettings, folder: Path) -> FleetSettings:
    """The settings with the path of the forecast, when it is relative, in `folder`."""
    name = fleet.placement.forecast_file
    placed = replace(fleet.placement, forecast_file=str(folder.absolute() / name)) if name else fleet.placement
    return replace(fleet, placement=placed)


def beside(source: Path, name: str) -> Path | None:
    """A path of the configuration, relative to the folder of its file; None for ''."""
    return (source.parent / name) if name else None
