"""Ranked sources of single files for one appliance: who holds the file, near before far, and who goes out for it. Pure.

A source gives what serving leaves free: who is loaded up to the set share of its capacity is left out, and of the rest
each asker is told half as its bound, so that those who ask between two reports do not together take more than is free.
The bound is kept by the asker. A web server's own `limit_rate` would be fixed for each connection, would need a reload
whenever the load changes, and an answer of 429 would cost the asker a round trip to learn what control knows.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from headrace.base.ids import ApplianceId, FileNo, Sha256
from headrace.catalog.fileset import FileSet
from headrace.fill.escalation import place_in_line
from headrace.fill.model import FillSource, SourceKind
from headrace.fill.sources import Candidate, SourceLimits, SourceSkip, why_not

_LEAST_SPARE_RATIO = 0.02
"""Below this share of its capacity a source has nothing to give."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A possible source and what it holds."""

    candidate: Candidate
    held: FileSet
    is_near: bool = True
    """Of another site: near enough to be asked before the whole network is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRanking:
    """The sources of one file, best first, as places in `Rankings.sources`, and the place of the asker in its line."""

    file_no: FileNo
    sources: tuple[int, ...]
    place: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rankings:
    """The answer for all files that were asked for, and why the other appliances are in none of them."""

    sources: tuple[FillSource, ...]
    files: tuple[FileRanking, ...]
    skipped: Mapping[ApplianceId, SourceSkip]


def rank_files(
    own: Candidate,
    wanted: Mapping[FileNo, Sha256],
    peers: Sequence[Holder],
    tiers: Sequence[Holder],
    planners: Mapping[ApplianceId, FileSet],
    *,
    origin_url: str,
    limits: SourceLimits,
) -> Rankings:
    """Rank the sources of each wanted file.

    Args:
        peers: the appliances of the asker's own site.
        tiers: those of other sites, by route cost, cheapest first.
        planners: the plans of the site's appliances that can be fill masters.
        origin_url: always last; '' for none.
    """
    asked = FileSet(wanted)
    skipped: dict[ApplianceId, SourceSkip] = {}
    chosen: list[tuple[FillSource, FileSet]] = []
    for kind, holders in ((SourceKind.PEER, peers), (SourceKind.TIER, tiers)):
        for holder in holders:
            skip = _why_no_source(own, holder, kind, limits)
            if skip is None:
                chosen.append((_source(holder, kind, limits), holder.held & asked))
            elif holder.candidate.appliance_id != own.appliance_id:
                skipped[holder.candidate.appliance_id] = skip
    useful = [(source, held) for source, held in chosen if held]
    sources = [source for source, _ in useful]
    if origin_url:
        sources.append(FillSource(kind=SourceKind.ORIGIN, base_url=origin_url))
    testers = [(at, source.kind, held.tester()) for at, (source, held) in enumerate(useful)]
    # Who holds a file has no need to go out for it: the line is of those who lack it.
    held_by = {holder.candidate.appliance_id: holder.held for holder in peers}
    plans = [(name, ((plan & asked) - held_by.get(name, FileSet())).tester()) for name, plan in planners.items()]
    ranked = []
    for number, name in wanted.items():
        own_site = [at for at, kind, holds in testers if kind is SourceKind.PEER and holds(number)]
        others = [at for at, kind, holds in testers if kind is SourceKind.TIER and holds(number)]
        own_site.sort(key=lambda at: _weight(own.appliance_id, sources[at].base_url, number))
        # One place is kept for another site, as for the appliance as a whole.
        best = [*own_site[: max(1, limits.most - 1) if others else limits.most], *others][: limits.most]
        origin = (len(useful),) if origin_url else ()
        line = [member for member, lacks_it in plans if lacks_it(number)]
        place = place_in_line(own.appliance_id, line, name) if line else 0
        ranked.append(FileRanking(file_no=number, sources=(*best, *origin), place=place))
    return Rankings(sources=tuple(sources), files=tuple(ranked), skipped=skipped)


def spare_bps(candidate: Candidate, give_ratio: float) -> int | None:
    """What serving leaves free, bits per second; None where the capacity is not known."""
    if candidate.capacity_bps <= 0:
        return None
    return max(0, int(candidate.capacity_bps * give_ratio - candidate.tx_bps))


def _why_no_source(own: Candidate, holder: Holder, kind: SourceKind, limits: SourceLimits) -> SourceSkip | None:
    one = holder.candidate
    skip = why_not(own, one, is_peer=kind is SourceKind.PEER)
    if skip is None and (spare := spare_bps(one, limits.give_ratio)) is not None:
        return SourceSkip.BUSY if spare < one.capacity_bps * _LEAST_SPARE_RATIO else None
    return skip


def _source(holder: Holder, kind: SourceKind, limits: SourceLimits) -> FillSource:
    one = holder.candidate
    spare = spare_bps(one, limits.give_ratio)
    return FillSource(
        kind=kind,
        base_url=one.content_url,
        appliance_id=one.appliance_id,
        is_near=holder.is_near and kind is SourceKind.TIER,
        rate_bps=0 if spare is None else max(1, spare // 2),
    )


def _weight(own: ApplianceId, url: str, number: int) -> bytes:
    return hashlib.blake2b(f"{own} {url} {number}".encode(), digest_size=8).digest()
