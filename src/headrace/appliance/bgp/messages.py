"""Reads what ExaBGP 5 says, one JSON object a line, into what happened to a session. Pure.

Peers choose the contents. What cannot be read is a RouteError that names it; nothing else is raised.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from socket import AF_INET, AF_INET6, inet_pton
from typing import Any

from headrace.routes.model import AddressFamily, AsPath, Attributes, Prefix, RouteError, RouteOrigin

MOST_LINE_BYTES = 4 << 20
"""An UPDATE has at most 64 KiB (RFC 8654), as JSON not twenty times that."""
_BITS = {AddressFamily.IPV4: 32, AddressFamily.IPV6: 128}
_KINDS = {AddressFamily.IPV4: AF_INET, AddressFamily.IPV6: AF_INET6}


@dataclass(frozen=True, slots=True, kw_only=True)
class Happened:
    """Something happened to the session with `peer` (its address)."""

    peer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Up(Happened):
    """The session is established."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Down(Happened):
    """It, or an attempt, has ended."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Notified(Happened):
    """A NOTIFICATION came in; Down follows."""

    code: int
    subcode: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced(Happened):
    """The peer announces prefixes of one family."""

    family: AddressFamily
    prefixes: list[Prefix]
    attributes: Attributes


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawn(Happened):
    """The peer withdraws prefixes."""

    family: AddressFamily
    prefixes: list[Prefix]


@dataclass(frozen=True, slots=True, kw_only=True)
class EndOfRib(Happened):
    """All that the peer had at first is announced (RFC 4724)."""

    family: AddressFamily


def read_line(line: bytes) -> list[Happened]:
    """What one line says; an empty list for what does not matter here, as answers to commands (plain words).

    Raises:
        RouteError: it is not what ExaBGP 5 writes.
    """
    if not line.startswith(b"{"):
        return []
    try:
        said = json.loads(line)
        kind = said["type"]
        if "neighbor" not in said:
            return []
        neighbour = said["neighbor"]
        peer = neighbour["address"]["peer"]
        if kind == "state":
            return list(_state(peer, neighbour))
        if kind == "update":
            return list(_update(peer, neighbour["message"]))
        if kind == "notification":
            return [_notification(peer, neighbour["notification"])]
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise RouteError(f"ExaBGP says what is not understood ({error!r:.200}): {line[:200]!r}") from None
    return []


def _state(peer: str, neighbour: dict[str, Any]) -> Iterator[Happened]:
    if neighbour["state"] == "up":
        yield Up(peer=peer)
    elif neighbour["state"] == "down":
        yield Down(peer=peer, reason=str(neighbour.get("reason", ""))[:300])


def _notification(peer: str, said: dict[str, Any]) -> Notified:
    text = said.get("message", "")
    printable = "".join(letter for letter in str(text) if letter.isprintable())[:128]
    return Notified(peer=peer, code=int(said["code"]), subcode=int(said["subcode"]), text=printable)


def _update(peer: str, message: dict[str, Any]) -> Iterator[Happened]:
    if "eor" in message:
        family = AddressFamily(message["eor"]["afi"])
        if message["eor"]["safi"] == "unicast":
            yield EndOfRib(peer=peer, family=family)
        return
    update = message["update"]
    for name, prefixes in update.get("withdraw", {}).items():
        for family in _families(name):
            yield Withdrawn(peer=peer, family=family, prefixes=list(map(partial(_prefix, family), prefixes)))
    for name, by_hop in update.get("announce", {}).items():
        for family in _families(name):
            for hop, prefixes in by_hop.items():
                attributes = _attributes(update.get("attribute", {}), hop)
                found = list(map(partial(_prefix, family), prefixes))
                yield Announced(peer=peer, family=family, prefixes=found, attributes=attributes)


def _families(name: str) -> tuple[AddressFamily, ...]:
    afi, _, safi = name.partition(" ")
    return (AddressFamily(afi),) if safi == "unicast" else ()


def _prefix(family: AddressFamily, said: Any) -> Prefix:
    text = said["nlri"] if isinstance(said, dict) else said
    address, _, length_text = text.partition("/")
    packed, length, bits = inet_pton(_KINDS[family], address), int(length_text), _BITS[family]
    if not 0 <= length <= bits:
        raise ValueError(f"{text!r} is no prefix")
    # Peers may leave any bits behind the length (RFC 4271, 4.3): they do not count.
    if spare := bits - length:
        number = int.from_bytes(packed, "big")
        if number & ((1 << spare) - 1):
            packed = (number >> spare << spare).to_bytes(bits // 8, "big")
    return packed + bytes((length,))


def _attributes(said: dict[str, Any], hop: str) -> Attributes:
    return Attributes(
        as_path=_path(said.get("as-path", {})),
        origin=RouteOrigin(said.get("origin", "incomplete")),
        next_hop=hop,
        med=said.get("med"),
        communities=_communities(said.get("community", []), 2) + _communities(said.get("large-community", []), 3),
    )


def _path(segments: dict[str, Any]) -> AsPath:
    path: list[int | tuple[int, ...]] = []
    for place in sorted(segments, key=int):
        segment = segments[place]
        numbers = [int(number) for number in segment["value"]]
        if segment["element"] == "as-sequence":
            path += numbers
        elif segment["element"] == "as-set" and numbers:
            path.append(tuple(numbers))
    return tuple(path)


def _communities(said: list[Any], size: int) -> tuple[str, ...]:
    numbers = sorted({tuple(int(number) for number in each) for each in said})
    if any(len(each) != size for each in numbers):
        raise ValueError(f"communities {said!r:.100}")
    return tuple(":".join(map(str, each)) for each in numbers)
