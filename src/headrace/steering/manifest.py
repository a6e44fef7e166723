"""Steering manifests: the JSON that a player asks for again and again while it plays.

One form for HLS (draft-pantos-content-steering) and DASH (ETSI TS 103 998). The steering node keeps no memory of a
session: the URL that it wrote into the playlist carries the pathways of that playlist (`p`) and the title's fingerprint
(`v`); the player adds `_HLS_pathway` and `_HLS_throughput` (bits per second; `_DASH_...` carry lists).

Players differ in what a pathway clone may do. hls.js 1.7 sets `URL.hostname`, which cannot change a port, so a clone on
another port, scheme or path names every URI (PER-VARIANT-URIS, PER-RENDITION-URIS). dash.js 5.2 joins the base's scheme
and path with HOST as given, so there HOST may carry a port, but scheme and path must be the base's.
"""

import json
import re
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple
from urllib.parse import unquote_plus

from headrace.base.errors import InvalidIdError
from headrace.base.ids import NAME_FORM, ApplianceId, appliance_id
from headrace.catalog.model import TrackKind
from headrace.steering.compile import CompiledSnapshot
from headrace.steering.hls import stable_rendition_id, variants
from headrace.steering.library import CompiledTitle
from headrace.steering.model import ORIGIN_PATHWAY
from headrace.steering.pathway import BaseParts, Pathway, base_parts, playlist_path
from headrace.steering.rank import Session

MAX_WRITTEN = 16
"""More pathways than any playlist of ours has."""
MAX_REPORTED = 16
MAX_THROUGHPUT_BPS = 10**13
UNMEASURED_BPS = 500_000
"""hls.js says exactly this (its `abrEwmaDefaultEstimate`) before it has fetched anything: that is no measurement, and
held for one it would send each session that begins away from its best pathway, where the title needs more."""


_DOTTED = re.compile(rf"(?:(?:{NAME_FORM}|{ORIGIN_PATHWAY})(?:\.|$))+")
"""Ids between dots, all in their form: what is nearly always asked, at the cost of one look."""


class Protocol(StrEnum):
    """Which player dialect a steering manifest is for."""

    HLS = "hls"
    DASH = "dash"


class SteeringQuery(NamedTuple):
    """The query of a request for a steering manifest, read and bounded."""

    written: tuple[str, ...] = ()
    """Pathways of the session's playlist, the origin among them; () when the URL is not one that we wrote."""
    fingerprint: str = ""
    reported: tuple[tuple[str, int | None], ...] = ()
    """(pathway, measured bits per second or None), the one in use first."""


class QueryError(ValueError):
    """A query that no playlist of ours and no player makes."""


def steering_query(pathways: Sequence[Pathway], title: CompiledTitle) -> str:
    """The query with which a playlist or manifest points to its steering manifest."""
    return f"p={'.'.join(one.pathway_id for one in pathways)}&v={title.fingerprint}"


def read_query(query: str) -> SteeringQuery:
    """Read a query string; parameters that we do not know are left alone, as CMCD and tokens of others may be there.

    Raises:
        QueryError: a list is too long, a pathway id has no allowed form, or a throughput is no number.
    """
    written: tuple[str, ...] = ()
    fingerprint, pathways, throughputs = "", "", ""
    for part in query.split("&"):
        name, _, value = part.partition("=")
        if name == "p":
            written = _pathway_ids(value, ".", MAX_WRITTEN)
        elif name == "v":
            fingerprint = value[:64]
        elif name in ("_HLS_pathway", "_DASH_pathway"):
            pathways = unquote_plus(value).strip('"')
        elif name in ("_HLS_throughput", "_DASH_throughput"):
            throughputs = unquote_plus(value).strip('"')
    return SteeringQuery(written=written, fingerprint=fingerprint, reported=_reported(pathways, throughputs))


def read_session(query: SteeringQuery, title: CompiledTitle, *, slow_ratio: float) -> Session:
    """What a running session means for ranking: a pathway is slow for it when it measured less than `slow_ratio`
    times what the title's lowest rendition needs at its peak."""
    needed_bps = slow_ratio * title.least_bps
    slow = tuple(ApplianceId(name) for name, bps in query.reported if bps is not None and bps < needed_bps)
    current = next((ApplianceId(name) for name, _ in query.reported if name != ORIGIN_PATHWAY), None)
    written = tuple(ApplianceId(name) for name in query.written if name != ORIGIN_PATHWAY)
    return Session(written=written, current=current, slow=slow)


def write_manifest(
    protocol: Protocol,
    compiled: CompiledSnapshot,
    title: CompiledTitle,
    pathways: Sequence[Pathway],
    query: SteeringQuery,
    *,
    ttl_s: int,
) -> bytes:
    """The steering manifest: `pathways` in order, with a clone for each that the session's playlist does not have.

    Left out is a pathway that cannot be cloned: the playlist is of another publish of the title or unknown to us, or
    (DASH) no written pathway has its scheme and path.
    """
    bases: list[tuple[str, BaseParts]] | None = None
    is_same_publish = query.fingerprint == title.fingerprint
    priority, clones = [], []
    for pathway in pathways:
        if not query.written or pathway.pathway_id in query.written:
            priority.append(pathway.pathway_id)
            continue
        if not is_same_publish:
            continue
        bases = _bases(compiled, query.written) if bases is None else bases
        clone = _clone(protocol, title, pathway, bases, query.written)
        if clone is not None:
            priority.append(pathway.pathway_id)
            clones.append(clone)
    # Ids need no quoting, so most manifests are written without `json`, at a fifth of the cost.
    text = f'{{"VERSION":1,"TTL":{ttl_s}'
    if query.written:
        fingerprint = query.fingerprint if is_same_publish else json.dumps(query.fingerprint)[1:-1]
        text += f',"RELOAD-URI":"{title.title.title_id}?p={".".join(query.written)}&v={fingerprint}"'
    names = '","'.join(priority or query.written)
    text += f',"PATHWAY-PRIORITY":["{names}"]' if names else ',"PATHWAY-PRIORITY":[]'
    if clones:
        text += f',"PATHWAY-CLONES":{json.dumps(clones, separators=(",", ":"))}'
    return (text + "}").encode()


def _pathway_ids(text: str, separator: str, most: int) -> tuple[str, ...]:
    parts = [part for part in text.split(separator, most) if part]
    if len(parts) > most:
        raise QueryError(f"more than {most} pathways")
    for part in () if _DOTTED.fullmatch(text) else parts:
        try:
            if part != ORIGIN_PATHWAY:
                appliance_id(part)
        except InvalidIdError as error:
            raise QueryError(f"pathway: {error}") from None
    return tuple(dict.fromkeys(parts))


def _reported(pathways: str, throughputs: str) -> tuple[tuple[str, int | None], ...]:
    """Pair both lists. hls.js reports '.' as pathway before it knows one: that is no report."""
    if not pathways or pathways == ".":
        return ()
    names = _pathway_ids(pathways, ",", MAX_REPORTED)
    values = throughputs.split(",", MAX_REPORTED)
    return tuple((name, _bps(values[number]) if number < len(values) else None) for number, name in enumerate(names))


def _bps(text: str) -> int | None:
    text = text.strip()
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        raise QueryError(f"throughput {text[:40]!r} is not a number") from None
    return int(value) if 0 <= value <= MAX_THROUGHPUT_BPS and value != UNMEASURED_BPS else None


def _bases(compiled: CompiledSnapshot, written: Sequence[str]) -> list[tuple[str, BaseParts]]:
    """The written pathways whose base URL is known, taken apart."""
    found = []
    for name in written:
        appliance = compiled.appliances.get(name)
        url = compiled.origin_url if name == ORIGIN_PATHWAY else appliance.content_url if appliance else ""
        parts = base_parts(url)
        if parts is not None:
            found.append((name, parts))
    return found


def _clone(
    protocol: Protocol,
    title: CompiledTitle,
    pathway: Pathway,
    bases: Sequence[tuple[str, BaseParts]],
    written: Sequence[str],
) -> dict[str, object] | None:
    parts = base_parts(pathway.base_url)
    if parts is None:
        return None
    for base_id, base in bases:
        if (base.scheme, base.path) != (parts.scheme, parts.path):
            continue
        if protocol is Protocol.DASH:
            return _clone_object(base_id, pathway, {"HOST": parts.netloc})
        if base.port == parts.port:
            return _clone_object(base_id, pathway, {"HOST": parts.host})
    return None if protocol is Protocol.DASH else _clone_object(written[0], pathway, _every_uri(title, pathway))


def _every_uri(title: CompiledTitle, pathway: Pathway) -> dict[str, object]:
    parts = base_parts(pathway.base_url)
    assert parts is not None
    others = [one for one in title.title.renditions if one.kind is not TrackKind.VIDEO]
    return {
        "HOST": parts.host,
        "PER-VARIANT-URIS": {
            one.stable_id: pathway.base_url + playlist_path(one.video) for one in variants(title.title)
        },
        "PER-RENDITION-URIS": {stable_rendition_id(one): pathway.base_url + playlist_path(one) for one in others},
    }


def _clone_object(base_id: str, pathway: Pathway, replacement: dict[str, object]) -> dict[str, object]:
    return {"BASE-ID": base_id, "ID": pathway.pathway_id, "URI-REPLACEMENT": replacement}
