"""Route origin validation (RFC 6811) on the validated payloads of a relying party. Pure; the file is read elsewhere.

A file is the JSON that rpki-client (`-j`) and routinator (`--format json`, `jsonext`) write: an object with a list
`roas` of `prefix`, `asn` (a number, or text with or without AS before it) and `maxLength`. A file with one broken entry
is broken as a whole: the entry left out could be the one that makes a route valid, and missing data never makes a route
invalid.
"""

import json
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.routes.columns import U64, Columns, masked
from headrace.routes.model import AddressFamily, RouteError

_MOST_AS = 0xFFFF_FFFF


class VrpError(RouteError):
    """A file of validated payloads cannot be used as it is."""


class Validity(StrEnum):
    """The state of a route (RFC 6811, 2)."""

    NOT_FOUND = "not-found"
    """No payload covers the prefix."""
    VALID = "valid"
    INVALID = "invalid"
    """Covered, but by none with this origin and length."""

    @property
    def code(self) -> int:
        """Its number in arrays."""
        return _CODES[self]


_CODES = {Validity.NOT_FOUND: 0, Validity.VALID: 1, Validity.INVALID: 2}


class VrpState(StrEnum):
    """What is known of the file of validated payloads."""

    OFF = "off"
    """No file is configured: no route is invalid."""
    MISSING = "missing"
    """The file was never there since this node started; no route is invalid."""
    GOOD = "good"
    BROKEN = "broken"
    """The newest file cannot be used, the last good one is."""
    OLD = "old"
    """Its data are older than `old_after_s`; they are used still: is the relying party running?"""
    EXPIRED = "expired"
    """Its data are older than `unused_after_s` and no longer used: no route is invalid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RpkiRules:
    """Table [routes.rpki]."""

    file: str = ""
    """JSON of rpki-client or routinator; '' for none."""
    old_after_s: float = 7_200.0
    """Relying parties write about every 10 to 60 minutes."""
    unused_after_s: float = 86_400.0
    """Payloads of yesterday would call what is right today invalid; unknown is safer."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Level:
    """All payloads whose prefixes have one length."""

    length: int
    prefixes: U64
    """In ascending order, each once: addresses (IPv4), first 64 bits (IPv6)."""
    pairs: U64
    """Place of the prefix in `prefixes` << 32 | AS number, in ascending order, each once."""
    longest: NDArray[np.uint8]
    """The longest announcement that the pair allows."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VrpTable:
    """Validated payloads, ready to be asked."""

    levels: Mapping[AddressFamily, tuple[_Level, ...]]
    deep: Mapping[tuple[int, int, int], Mapping[int, int]] = field(default_factory=dict)
    """IPv6 payloads longer than 64 bits: (high, low, length) -> AS number -> longest announcement."""
    count: int = 0
    built_s: float | None = None
    """When the relying party made it, by its own words; seconds since 1970."""

    def validate(self, columns: Columns) -> NDArray[np.uint8]:
        """`Validity.code` of each route."""
        bits = 32 if columns.family is AddressFamily.IPV4 else 64
        is_covered = np.zeros(len(columns), dtype=np.bool_)
        is_valid = np.zeros(len(columns), dtype=np.bool_)
        origins = columns.origins.astype(np.uint64)
        for level in self.levels.get(columns.family, ()):
            words = masked(columns.high, level.length, bits)
            places = np.minimum(np.searchsorted(level.prefixes, words), len(level.prefixes) - 1)
            rows = np.flatnonzero((level.prefixes[places] == words) & (columns.lengths >= level.length))
            is_covered[rows] = True
            wanted = (places[rows].astype(np.uint64) << np.uint64(32)) | origins[rows]
            pairs = np.minimum(np.searchsorted(level.pairs, wanted), len(level.pairs) - 1)
            fits = (level.pairs[pairs] == wanted) & (columns.lengths[rows] <= level.longest[pairs])
            is_valid[rows[fits]] = True
        if self.deep and columns.family is AddressFamily.IPV6:
            self._validate_deep(columns, is_covered, is_valid)
        # AS 0 is nobody's (RFC 6483, 4): a payload for it covers and never fits; a route from a set has no origin.
        is_valid &= columns.origins != 0
        return np.where(is_valid, 1, np.where(is_covered, 2, 0)).astype(np.uint8)

    def _validate_deep(self, columns: Columns, is_covered: Any, is_valid: Any) -> None:
        for row in np.flatnonzero(columns.lengths > 64):
            high, low, length = int(columns.high[row]), int(columns.low[row]), int(columns.lengths[row])
            for bits in range(65, length + 1):
                found = self.deep.get((high, low >> (128 - bits) << (128 - bits), bits))
                if found is not None:
                    is_covered[row] = True
                    is_valid[row] |= found.get(int(columns.origins[row]), 0) >= length


def parse_vrps(text: bytes) -> VrpTable:
    """Read a file of rpki-client or routinator.

    Raises:
        VrpError: not such a file, cut off, empty, or with an entry that cannot be right.
    """
    try:
        document = json.loads(text)
    except ValueError as error:
        raise VrpError(f"not JSON: {error}") from None
    roas = document.get("roas") if isinstance(document, dict) else None
    if not isinstance(roas, list):
        raise VrpError('not the JSON of rpki-client or routinator: it holds no list "roas"')
    if not roas:
        raise VrpError("it holds no payloads at all")
    return build_table(_entries(roas), built_s=_built_s(document.get("metadata")))


def build_table(entries: Iterable[tuple[bytes, int, int, int]], *, built_s: float | None = None) -> VrpTable:
    """A table of (packed address, length, longest length, AS number)."""
    flat: dict[tuple[AddressFamily, int], dict[tuple[int, int], int]] = {}
    deep: dict[tuple[int, int, int], dict[int, int]] = {}
    count = 0
    for address, length, longest, number in entries:
        count += 1
        if length > 64:
            high, low = int.from_bytes(address[:8], "big"), int.from_bytes(address[8:], "big")
            numbers = deep.setdefault((high, low, length), {})
            numbers[number] = max(longest, numbers.get(number, 0))
            continue
        family = AddressFamily.IPV4 if len(address) == 4 else AddressFamily.IPV6
        pairs = flat.setdefault((family, length), {})
        key = (int.from_bytes(address[:8], "big"), number)
        if pairs.get(key, 0) < longest:
            pairs[key] = longest
    levels: dict[AddressFamily, list[_Level]] = {}
    for (family, length), found in sorted(flat.items()):
        levels.setdefault(family, []).append(_level(length, found))
    done = {family: tuple(each) for family, each in levels.items()}
    return VrpTable(levels=done, deep=deep, count=count, built_s=built_s)


def _level(length: int, pairs: Mapping[tuple[int, int], int]) -> _Level:
    keys = np.array(list(pairs), dtype=np.uint64)
    longest = np.fromiter(pairs.values(), dtype=np.uint8, count=len(pairs))
    prefixes, places = np.unique(keys[:, 0], return_inverse=True)
    packed = (places.astype(np.uint64) << np.uint64(32)) | keys[:, 1]
    order = np.argsort(packed)
    return _Level(length=length, prefixes=prefixes, pairs=packed[order], longest=longest[order])


def _entries(roas: list[Any]) -> Iterable[tuple[bytes, int, int, int]]:
    pton, v4, v6 = socket.inet_pton, socket.AF_INET, socket.AF_INET6
    for index, entry in enumerate(roas):
        try:
            text, _, bits = entry["prefix"].partition("/")
            address = pton(v6 if ":" in text else v4, text)
            length = int(bits)
            longest = entry.get("maxLength", length)
            number = entry["asn"]
            if isinstance(number, str):
                number = int(number[2:] if number[:2] in ("AS", "as") else number)
        except (KeyError, TypeError, ValueError, AttributeError, OSError):
            raise VrpError(f"entry {index} cannot be read: {str(entry)[:120]}") from None
        width = len(address) * 8
        is_clean = not int.from_bytes(address, "big") & ((1 << (width - length)) - 1) if 0 <= length <= width else False
        is_number = type(longest) is int and type(number) is int and 0 <= number <= _MOST_AS
        if not is_clean or not is_number or not length <= longest <= width:
            raise VrpError(f"entry {index} cannot be right: {str(entry)[:120]}")
        yield address, length, longest, number


def _built_s(metadata: Any) -> float | None:
    """When it was made: `generated` of routinator, `buildtime` of rpki-client; None when it does not say."""
    if not isinstance(metadata, dict):
        return None
    if type(metadata.get("generated")) is int:
        return float(metadata["generated"])
    try:
        return datetime.fromisoformat(str(metadata.get("buildtime") or metadata.get("generatedTime"))).timestamp()
    except ValueError:
        return None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VrpStanding:
    """What a node knows of the file, and what of it routes are judged by."""

    state: VrpState
    table: VrpTable | None = None
    """The last good one."""
    data_s: float | None = None
    """When its data were made, seconds since 1970."""
    error: str = ""
    """Why the newest file cannot be used."""

    @property
    def usable(self) -> VrpTable | None:
        """The table that routes are judged by; None: nothing is known, no route is invalid."""
        return None if self.state is VrpState.EXPIRED else self.table


def judge_age(standing: VrpStanding, rules: RpkiRules, *, now_s: float) -> VrpStanding:
    """The standing as time goes by: data get old, and are not used for ever."""
    if not rules.file:
        return VrpStanding(state=VrpState.OFF)
    if standing.table is None:
        return VrpStanding(state=VrpState.MISSING, error=standing.error)
    age_s = now_s - (standing.data_s or 0.0)
    state = VrpState.BROKEN if standing.error else VrpState.GOOD
    if age_s > rules.old_after_s:
        state = VrpState.OLD
    if age_s > rules.unused_after_s:
        state = VrpState.EXPIRED
    return VrpStanding(state=state, table=standing.table, data_s=standing.data_s, error=standing.error)
