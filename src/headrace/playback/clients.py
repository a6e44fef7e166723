"""Who is asking: the client's address, from the connection or from a proxy that is trusted to say it.

A header is believed only when the connection comes from a configured proxy, and is read from its end: the last address
that is not a trusted proxy's is the client (RFC 7239, section 8.1 says why). Pure; addresses are bytes in network
order, 4 or 16 of them.
"""

import ipaddress
import re
from collections.abc import Sequence
from socket import AF_INET, AF_INET6, inet_pton

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_FORWARDED_FOR = re.compile(r"(?:^|[;,])\s*for\s*=\s*(\"(?:[^\"\\]|\\.)*\"|[^;,\s\"]+)", re.IGNORECASE)
_WITH_PORT = re.compile(r"(\d+\.\d+\.\d+\.\d+):\d+|\[([0-9A-Fa-f:.]+)\](?::\d+)?")
MAX_HOPS = 64


class ClientReader:
    """Reads clients' addresses; remembers which peers are proxies."""

    def __init__(self, trusted_proxies: Sequence[str]) -> None:
        self._networks: tuple[Network, ...] = tuple(ipaddress.ip_network(one, strict=False) for one in trusted_proxies)
        self._is_proxy: dict[str, bool] = {}

    def is_proxy(self, host: str) -> bool:
        """True when the header of this peer is believed."""
        known = self._is_proxy.get(host)
        if known is None:
            if len(self._is_proxy) > 10_000:
                self._is_proxy.clear()
            packed = packed_address(host)
            known = self._is_proxy[host] = packed is not None and self._is_in_networks(packed)
        return known

    def from_x_forwarded_for(self, value: str) -> str | None:
        """The client's address of X-Forwarded-For, lines joined by commas; None where there is none."""
        return self._last_stranger(value.split(","))

    def from_forwarded(self, value: str) -> str | None:
        """The client's address of Forwarded (RFC 7239), lines joined by commas."""
        return self._last_stranger([found.strip('"') for found in _FORWARDED_FOR.findall(value)])

    def _last_stranger(self, hops: list[str]) -> str | None:
        address = None
        for hop in reversed(hops[-MAX_HOPS:]):
            text = without_port(hop.strip())
            if packed_address(text) is None:
                return address
            address = text
            if not self.is_proxy(text):
                return address
        return address

    def _is_in_networks(self, packed: bytes) -> bool:
        address = ipaddress.ip_address(packed)
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in self._networks)


def packed_address(text: str) -> bytes | None:
    """An IP address in network byte order; None for anything else (names, zones, empty, malformed)."""
    try:
        return inet_pton(AF_INET6 if ":" in text else AF_INET, text)
    except (OSError, ValueError):
        return None


def without_port(text: str) -> str:
    """'192.0.2.1:80' and '[2001:db8::1]:80' without brackets and port; other texts as they are."""
    match = _WITH_PORT.fullmatch(text)
    return (match[1] or match[2]) if match else text


def is_loopback(text: str) -> bool:
    """True for 127.0.0.0/8 and ::1, mapped ones too."""
    packed = packed_address(text)
    if packed is None:
        return False
    address = ipaddress.ip_address(packed)
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
