"""TCP sockets of this machine, asked of the kernel by netlink (sock_diag), or read from /proc/net if it refuses.

The kernel filters by port and state, so 100,000 connections cost one short dump and no text. pyroute2 has the same
question, but builds an object a socket; here only addresses are looked at.
"""

import os
import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

_SOCK_DIAG = 4
_DIAG_BY_FAMILY = 20
_DUMP_REQUEST = 0x301
_ERROR, _DONE = 2, 3
_ESTABLISHED, _LISTEN = 1, 10
_HEADER = struct.Struct("=IHHII")
_INODE = struct.Struct("=I")
_TIMEOUT_S = 2.0
_PROC = Path("/proc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """A listening socket."""

    address: str
    port: int
    inode: int


def count_connections(listen: Iterable[tuple[str, int]]) -> int:
    """Established connections to the listening (address, port) pairs; an unspecified address takes any."""
    wanted = set(listen)
    total = 0
    for port in {port for _, port in wanted}:
        addresses = {ip_address(address) for address, its_port in wanted if its_port == port}
        any_versions = {address.version for address in addresses if address.is_unspecified}
        exact = {address.packed for address in addresses}
        found = _sockets(port, _ESTABLISHED)
        total += sum(1 for version, packed, _ in found if version in any_versions or packed in exact)
    return total


def find_listeners(address: str, port: int) -> tuple[Listener, ...]:
    """Listening sockets that stand in the way of listening on `address` and `port`."""
    own = ip_address(address)
    found = []
    for _, packed, inode in _sockets(port, _LISTEN):
        other = ip_address(packed)
        if other.version == own.version and (other == own or other.is_unspecified or own.is_unspecified):
            found.append(Listener(address=str(other), port=port, inode=inode))
    return tuple(found)


def find_owner(inode: int) -> tuple[int, str] | None:
    """Pid and name of a process that has the socket open; None when we may not see it."""
    wanted = f"socket:[{inode}]"
    for entry in os.listdir(_PROC):
        if entry.isdigit() and _has_open(entry, wanted):
            try:
                return int(entry), (_PROC / entry / "comm").read_text().strip()
            except OSError:
                return int(entry), "?"
    return None


_Socket = tuple[int, bytes, int]
"""IP version, local address, inode: a plain tuple, because there may be 100,000."""


def _has_open(pid: str, wanted: str) -> bool:
    folder = _PROC / pid / "fd"
    try:
        return any(os.readlink(folder / name) == wanted for name in os.listdir(folder))
    except OSError:
        return False


def _sockets(port: int, state: int) -> Iterator[_Socket]:
    for family, version in ((socket.AF_INET, 4), (socket.AF_INET6, 6)):
        try:
            yield from _asked(family, version, port, state)
        except OSError:
            yield from _read_from_proc(version, port, state)


def _asked(family: int, version: int, port: int, state: int) -> list[_Socket]:
    """One dump of the kernel (struct inet_diag_req_v2 in linux/inet_diag.h), filtered by source port and state."""
    request = struct.pack("=BBBBI", family, socket.IPPROTO_TCP, 0, 0, 1 << state)
    request += struct.pack("!HH16s16s", port, 0, b"", b"") + struct.pack("=I8s", 0, b"\xff" * 8)
    found: list[_Socket] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _SOCK_DIAG) as channel:
        channel.settimeout(_TIMEOUT_S)
        channel.send(_HEADER.pack(_HEADER.size + len(request), _DIAG_BY_FAMILY, _DUMP_REQUEST, 1, 0) + request)
        while not _take(channel.recv(1 << 18), version, found):
            pass
    return found


def _take(answer: bytes, version: int, found: list[_Socket]) -> bool:
    """Add the sockets of one datagram; True when the dump is at its end."""
    offset = 0
    while offset + _HEADER.size <= len(answer):
        length, kind, _, _, _ = _HEADER.unpack_from(answer, offset)
        if kind == _DONE:
            return True
        if kind == _ERROR:
            raise OSError(-int(struct.unpack_from("=i", answer, offset + _HEADER.size)[0]), "sock_diag refused")
        body = offset + _HEADER.size
        address = answer[body + 8 : body + (12 if version == 4 else 24)]
        found.append((version, address, _INODE.unpack_from(answer, body + 68)[0]))
        offset += (length + 3) & ~3
    return False


def _read_from_proc(version: int, port: int, state: int) -> Iterator[_Socket]:
    path = _PROC / "net" / ("tcp" if version == 4 else "tcp6")
    try:
        lines = path.read_text().splitlines()[1:]
    except OSError:
        return
    for line in lines:
        fields = line.split()
        address, _, its_port = fields[1].partition(":")
        if int(its_port, 16) == port and int(fields[3], 16) == state:
            words = [address[start : start + 8] for start in range(0, len(address), 8)]
            packed = b"".join(struct.pack("=I", int(word, 16)) for word in words)
            yield version, packed, int(fields[9])
