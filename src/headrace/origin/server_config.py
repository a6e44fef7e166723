"""The settings of `headrace origin`; every key is explained in server_defaults.toml."""

import re
from dataclasses import dataclass
from importlib import resources

from headrace.base.config import parse_config
from headrace.base.errors import ConfigError

_ADDRESS = re.compile(r"(\[[0-9a-fA-F:.%]+\]|[0-9.]+):([0-9]{1,5})")


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginConfig:
    """Serving the origin folder."""

    folder: str
    listen: tuple[str, ...]
    tls_certificate: str
    tls_key: str
    run_folder: str
    nginx: str
    workers: int
    access_log: str
    stop_wait_s: float


def default_server_settings() -> str:
    """The text of server_defaults.toml."""
    return resources.files("headrace.origin").joinpath("server_defaults.toml").read_text(encoding="utf-8")


def parse_origin_config(text: str, *, source: str) -> OriginConfig:
    """Lay `text` over the defaults and check the addresses.

    Raises:
        ConfigError: names the key and what it must be.
    """
    config = parse_config(OriginConfig, text, source=source, defaults=default_server_settings())
    if not config.listen:
        raise ConfigError(f"{source}: key 'listen': give at least one address")
    for address in config.listen:
        split_address(address)
    if bool(config.tls_certificate) != bool(config.tls_key):
        raise ConfigError(f"{source}: tls_certificate and tls_key need each other")
    return config


def split_address(address: str) -> tuple[str, int]:
    """'[::1]:8600' -> ('::1', 8600).

    Raises:
        ConfigError: not an IP address with a port.
    """
    match = _ADDRESS.fullmatch(address)
    if not match or not 0 < int(match[2]) < 65536:
        raise ConfigError(f"listen address {address!r}: write 0.0.0.0:8600 or [::]:8600")
    return match[1].strip("[]"), int(match[2])
