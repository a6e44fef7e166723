"""Settings of BGP at an appliance: with whom it speaks, and what it takes from them. Checked here and nowhere else."""

import ipaddress
from dataclasses import dataclass

from headrace.base.errors import ConfigError
from headrace.routes.model import AddressFamily, RouteError, family_of, parse_prefix

_MOST_AS = 0xFFFF_FFFF
_MOST_MD5 = 80
"""Bytes of a TCP MD5 key (RFC 2385)."""
_MOST_PEERS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class BgpPeer:
    """One session: the address decides its family."""

    address: str
    peer_as: int
    local_address: str
    passive: bool = False
    port: int = 179
    md5_password: str = ""
    ttl_security_hops: int = 0
    most_prefixes: int = 2_000_000
    enabled: bool = True

    @property
    def family(self) -> AddressFamily:
        """Which prefixes are exchanged."""
        return AddressFamily.IPV4 if ipaddress.ip_address(self.address).version == 4 else AddressFamily.IPV6

    @property
    def session_id(self) -> str:
        """As `routes.model.Session` names it."""
        return f"{self.address}/{self.family}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BgpSettings:
    """The table [bgp]; defaults.toml says what each key means."""

    local_as: int
    router_id: str
    hold_time_s: int
    announce: tuple[str, ...]
    warn_ratio: float
    over_limit_retry_s: float
    learn_most_s: float
    keep_s: float
    peers: tuple[BgpPeer, ...]

    def announced_to(self, peer: BgpPeer) -> tuple[str, ...]:
        """Own prefixes of the peer's family."""
        return tuple(prefix for prefix in self.announce if family_of(parse_prefix(prefix)) is peer.family)


def check_bgp(settings: BgpSettings, source: str) -> None:
    """Raises:
    ConfigError: names the key at fault and the mend.
    """
    if not 0.0 < settings.warn_ratio <= 1.0:
        raise _wrong(source, "warn_ratio", f"{settings.warn_ratio:g} must be above 0 and at most 1")
    if settings.hold_time_s and not 3 <= settings.hold_time_s <= 0xFFFF:
        raise _wrong(source, "hold_time_s", f"{settings.hold_time_s} must be 0 (never lost by silence) or 3 to 65535")
    for key in ("over_limit_retry_s", "learn_most_s", "keep_s"):
        if getattr(settings, key) < 0:
            raise _wrong(source, key, "must not be negative")
    for prefix in settings.announce:
        try:
            parse_prefix(prefix)
        except RouteError as error:
            raise _wrong(source, "announce", str(error)) from None
    if settings.peers:
        _check_peers(settings, source)


def router_id(settings: BgpSettings) -> str:
    """The identifier in OPEN messages: as set, else this side's address of the first IPv4 peer."""
    if settings.router_id:
        return settings.router_id
    local = (peer.local_address for peer in settings.peers if peer.family is AddressFamily.IPV4)
    return next(local, "")


def _check_peers(settings: BgpSettings, source: str) -> None:
    for number, peer in enumerate(settings.peers):
        _check_peer(peer, source, f"peers.{number}")
    _check_as(settings.local_as, source, "local_as")
    _check_router_id(settings, source)
    if len(settings.peers) > _MOST_PEERS:
        raise _wrong(source, "peers", f"{len(settings.peers)} are over the limit of {_MOST_PEERS}")
    addresses = [ipaddress.ip_address(peer.address) for peer in settings.peers]
    if len(set(addresses)) != len(addresses):
        raise _wrong(source, "peers", "names a peer's address twice; one session for each address")


def _check_router_id(settings: BgpSettings, source: str) -> None:
    try:
        ipaddress.IPv4Address(router_id(settings))
    except ValueError:
        raise _wrong(source, "router_id", "must be an IPv4 address; it may be left out when a peer has one") from None


def _check_peer(peer: BgpPeer, source: str, key: str) -> None:
    versions = set()
    for name, address in (("address", peer.address), ("local_address", peer.local_address)):
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            raise _wrong(source, f"{key}.{name}", f"{address!r} must be an IP address") from None
        if "%" in address or str(parsed) != address:
            raise _wrong(source, f"{key}.{name}", f"write {address!r} as {str(parsed).partition('%')[0]!r}")
        versions.add(parsed.version)
    if len(versions) > 1:
        raise _wrong(source, f"{key}.local_address", "must be of the same family as address")
    _check_as(peer.peer_as, source, f"{key}.peer_as")
    if not 1 <= peer.port <= 0xFFFF:
        raise _wrong(source, f"{key}.port", f"{peer.port} is no port")
    if not 0 <= peer.ttl_security_hops <= 254:
        raise _wrong(source, f"{key}.ttl_security_hops", "must be 0 (off) to 254")
    if peer.most_prefixes < 0:
        raise _wrong(source, f"{key}.most_prefixes", "must not be negative; 0 is no limit")
    password = peer.md5_password
    if (
        len(password) > _MOST_MD5
        or not password.isascii()
        or not password.isprintable()
        or set(password) & set("\"'\\")
    ):
        raise _wrong(source, f"{key}.md5_password", f"must be at most {_MOST_MD5} printable characters without quotes")


def _check_as(number: int, source: str, key: str) -> None:
    if not 1 <= number <= _MOST_AS:
        raise _wrong(source, key, f"{number} is no AS number; write 1 to {_MOST_AS}")


def _wrong(source: str, key: str, what: str) -> ConfigError:
    return ConfigError(f"{source}: key 'bgp.{key}': {what}")
