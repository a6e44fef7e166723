"""CMCD (CTA-5004, version 1): what a player says about itself with each request, read and written in both forms.

Header form: four request headers, each a list of keys. Query form: one argument `CMCD` with all keys, percent-encoded.
Reading takes anything a client may send: what is not understood is left out and counted in `flaws`, never raised, and
the work is bounded. Writing follows the standard: keys sorted, false and default values left out, amounts rounded.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any
from urllib.parse import quote, unquote

MOST_CHARACTERS = 4_096
"""Of one header or argument; the rest is not read."""
MOST_FLAWS = 8
"""Then the rest of the text is not read: it is not CMCD."""
MOST_KEYS = 64
MOST_TEXT = 1_024
MOST_ID = 64
"""Content and session ids, as the standard says."""
MOST_NUMBER = 10**12


@dataclass(frozen=True, slots=True, kw_only=True)
class Cmcd:
    """One request's values; None where the player says nothing."""

    bitrate_kbps: int | None = None
    """br: of the object asked for."""
    buffer_ms: int | None = None
    """bl: of media in the buffer when asking."""
    is_starved: bool | None = None
    """bs: the buffer ran empty since the request before, and playback stood still."""
    content_id: str | None = None
    """cid"""
    duration_ms: int | None = None
    """d: of the object."""
    deadline_ms: int | None = None
    """dl: from the request until the buffer is empty."""
    throughput_kbps: int | None = None
    """mtp: as the player measured it."""
    next_object: str | None = None
    """nor: relative path of the object that will be asked for next."""
    next_range: str | None = None
    """nrr: byte range of it."""
    object_type: str | None = None
    """ot: m, a, v, av, i, c, tt, k or o."""
    playback_rate: float | None = None
    """pr: 1 is real time, 2 double speed, 0 not playing."""
    requested_kbps: int | None = None
    """rtp: all that the player can use."""
    streaming_format: str | None = None
    """sf: d (DASH), h (HLS), s (Smooth) or o."""
    session_id: str | None = None
    """sid"""
    stream_type: str | None = None
    """st: v (all segments known) or l (live)."""
    is_startup: bool | None = None
    """su: wanted urgently, for start, seek or after starvation."""
    top_kbps: int | None = None
    """tb: of the best rendition that the player may use."""
    version: int | None = None
    """v"""
    custom: tuple[tuple[str, str | int | float | bool], ...] = ()
    """Keys with a hyphen, which anybody may define; sorted."""
    flaws: int = 0
    """Parts that were not understood."""


class Kind(Enum):
    """How a value is written."""

    WHOLE = "whole"
    DECIMAL = "decimal"
    FLAG = "flag"
    TEXT = "text"
    PATH = "path"
    """Text that is percent-encoded once more inside its quotes."""
    ID = "id"
    TOKEN = "token"


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key of the standard."""

    field: str
    kind: Kind
    header: str
    step: int = 1
    """Whole numbers are written rounded to this."""
    tokens: frozenset[str] = frozenset()


HEADERS = ("cmcd-session", "cmcd-request", "cmcd-object", "cmcd-status")
"""In the order in which access-log lines have them."""
_SESSION, _REQUEST, _OBJECT, _STATUS = HEADERS

KEYS = {
    "br": Key(field="bitrate_kbps", kind=Kind.WHOLE, header=_OBJECT),
    "bl": Key(field="buffer_ms", kind=Kind.WHOLE, header=_REQUEST, step=100),
    "bs": Key(field="is_starved", kind=Kind.FLAG, header=_STATUS),
    "cid": Key(field="content_id", kind=Kind.ID, header=_SESSION),
    "d": Key(field="duration_ms", kind=Kind.WHOLE, header=_OBJECT),
    "dl": Key(field="deadline_ms", kind=Kind.WHOLE, header=_REQUEST, step=100),
    "mtp": Key(field="throughput_kbps", kind=Kind.WHOLE, header=_REQUEST, step=100),
    "nor": Key(field="next_object", kind=Kind.PATH, header=_REQUEST),
    "nrr": Key(field="next_range", kind=Kind.TEXT, header=_REQUEST),
    "ot": Key(
        field="object_type",
        kind=Kind.TOKEN,
        header=_OBJECT,
        tokens=frozenset(("m", "a", "v", "av", "i", "c", "tt", "k", "o")),
    ),
    "pr": Key(field="playback_rate", kind=Kind.DECIMAL, header=_SESSION),
    "rtp": Key(field="requested_kbps", kind=Kind.WHOLE, header=_STATUS, step=100),
    "sf": Key(field="streaming_format", kind=Kind.TOKEN, header=_SESSION, tokens=frozenset("dhso")),
    "sid": Key(field="session_id", kind=Kind.ID, header=_SESSION),
    "st": Key(field="stream_type", kind=Kind.TOKEN, header=_SESSION, tokens=frozenset("vl")),
    "su": Key(field="is_startup", kind=Kind.FLAG, header=_REQUEST),
    "tb": Key(field="top_kbps", kind=Kind.WHOLE, header=_OBJECT),
    "v": Key(field="version", kind=Kind.WHOLE, header=_SESSION),
}

NOTHING = Cmcd()

_PAIR = re.compile(r'\s*([A-Za-z*][\w.*-]{0,63})(?:=(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+)))?\s*(?:,|$)')
_WHOLE = re.compile(r"-?\d{1,15}")
_DECIMAL = re.compile(r"-?\d{1,12}(?:\.\d{1,6})?")
_ESCAPED = re.compile(r"\\(.)")
_ARGUMENT = re.compile(r"(?:^|&)CMCD=([^&]*)")

_Value = str | int | float | bool


def decode_request(*, headers: tuple[str, ...] = (), query: str = "") -> Cmcd:
    """Read what one request says: `headers` are the values of CMCD-*, `query` is the whole query string, still encoded.

    A key in a header wins over the same key in the query.
    """
    argument = _ARGUMENT.search(query) if "CMCD=" in query else None
    parts = [unquote(argument[1][: 3 * MOST_CHARACTERS])] if argument else []
    parts += [header for header in headers if header]
    return decode(*parts) if parts else NOTHING


def decode(*texts: str) -> Cmcd:
    """Read lists of keys; a later text wins over an earlier one."""
    values: dict[str, Any] = {}
    custom: dict[str, _Value] = {}
    flaws = 0
    for text in texts:
        for name, value in _pairs(text):
            key = KEYS.get(name)
            if value is None:
                flaws += 1
            elif key is None:
                flaws += _take_custom(custom, name, value)
            else:
                checked = _checked(key, value)
                if checked is None:
                    flaws += 1
                else:
                    values[key.field] = checked
    return Cmcd(**values, custom=tuple(sorted(custom.items())), flaws=flaws)


def encode(cmcd: Cmcd) -> str:
    """One list with all keys, as the query form holds it before percent-encoding."""
    return ",".join(text for _, text in sorted(_written(cmcd)))


def to_query(cmcd: Cmcd) -> str:
    """The query argument `CMCD=...`; '' when there is nothing to say."""
    text = encode(cmcd)
    return f"CMCD={quote(text, safe='')}" if text else ""


def to_headers(cmcd: Cmcd) -> dict[str, str]:
    """The request headers; those with nothing to say are left out. Custom keys go into CMCD-Request."""
    shards: dict[str, list[tuple[str, str]]] = {}
    for name, text in _written(cmcd):
        header = KEYS[name].header if name in KEYS else _REQUEST
        shards.setdefault(header, []).append((name, text))
    return {header: ",".join(text for _, text in sorted(pairs)) for header, pairs in shards.items()}


@dataclass(frozen=True, slots=True)
class _Quoted:
    """A value that stood in quotes."""

    text: str


def _pairs(text: str) -> Iterator[tuple[str, _Quoted | str | bool | None]]:
    """Names and raw values; None is a part that is no pair. Stops at the bounds."""
    text = text[:MOST_CHARACTERS]
    position = flaws = count = 0
    while position < len(text) and flaws < MOST_FLAWS and count < MOST_KEYS:
        match = _PAIR.match(text, position)
        count += 1
        if match is None:
            flaws += 1
            comma = text.find(",", position)
            position = len(text) if comma < 0 else comma + 1
            yield "", None
            continue
        position = match.end()
        if match[2] is not None:
            yield match[1], _Quoted(_ESCAPED.sub(r"\1", match[2]))
        else:
            yield match[1], True if match[3] is None else match[3]


def _checked(key: Key, value: _Quoted | str | bool) -> _Value | None:
    """The value as its key wants it; None when it does not fit."""
    if key.kind is Kind.FLAG:
        return {True: True, "true": True, "?1": True, "false": False, "?0": False}.get(_plain(value))
    if key.kind in (Kind.TEXT, Kind.PATH, Kind.ID):
        most = MOST_ID if key.kind is Kind.ID else MOST_TEXT
        if not isinstance(value, _Quoted) or len(value.text) > most:
            return None
        return unquote(value.text) if key.kind is Kind.PATH else value.text
    text = _plain(value)
    if not isinstance(text, str):
        return None
    if key.kind is Kind.TOKEN:
        return text if text in key.tokens else None
    number = _number(text)
    if number is None or not 0 <= number <= MOST_NUMBER:
        return None
    return float(number) if key.kind is Kind.DECIMAL else _rounded(number, 1)


def _plain(value: _Quoted | str | bool) -> str | bool:
    return value.text if isinstance(value, _Quoted) else value


def _take_custom(custom: dict[str, _Value], name: str, value: _Quoted | str | bool) -> int:
    """Keep a custom key; 1 when it is none."""
    if "-" not in name:
        return 1
    if isinstance(value, _Quoted):
        custom[name] = value.text[:MOST_TEXT]
    elif isinstance(value, bool):
        custom[name] = value
    else:
        number = _number(value)
        custom[name] = value[:MOST_TEXT] if number is None else number
    return 0


def _number(text: str) -> int | float | None:
    if not text.isascii():
        return None
    if _WHOLE.fullmatch(text):
        return int(text)
    return float(text) if _DECIMAL.fullmatch(text) else None


def _written(cmcd: Cmcd) -> Iterator[tuple[str, str]]:
    for name, key in KEYS.items():
        value = getattr(cmcd, key.field)
        if value is None or value is False or (name in ("pr", "v") and value == 1):
            continue
        yield name, _pair(name, value, key)
    for name, value in cmcd.custom:
        if value is not False:
            yield name, _pair(name, value, None)


def _pair(name: str, value: _Value, key: Key | None) -> str:
    if value is True:
        return name
    if isinstance(value, str):
        if key and key.kind is Kind.TOKEN:
            return f"{name}={value}"
        if key and key.kind is Kind.PATH:
            value = quote(value, safe="!~*'()")  # what JavaScript's encodeURIComponent leaves alone
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'{name}="{escaped}"'
    if key and key.kind is Kind.WHOLE:
        return f"{name}={_rounded(value, key.step)}"
    return f"{name}={value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else f"{name}={value}"


def _rounded(number: int | float, step: int) -> int:
    """To the nearest multiple, halves upwards."""
    return int((number + step / 2) // step) * step
