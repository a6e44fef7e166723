"""Reports on routes: sessions, prefixes, filtered ones, imbalance, no second site, leaks, changes; in pages.

Each is about what this node knows (`loops/routing.py`), which is half a second old.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from enum import StrEnum
from itertools import islice
from typing import Annotated, Any, TypeVar

import numpy as np
from fastapi import APIRouter, Depends, Query, Response

from headrace.control.api.guard import GuardedRoute
from headrace.control.api.parts import Parts, WithParts
from headrace.control.api.problems import invalid
from headrace.control.route_history import read_changes, read_learned
from headrace.routes.balance import find_imbalance, find_leaks, find_single
from headrace.routes.columns import find_attributes
from headrace.routes.hygiene import FILTER_REASONS, FilterReason
from headrace.routes.listing import PlacedRoutes, list_routes, list_sessions
from headrace.routes.model import AsPath, Attributes, Prefix, RouteError, parse_prefix
from headrace.routes.reports import (
    ChangeRow,
    ChangesReport,
    ImbalanceReport,
    LeakRow,
    LeaksReport,
    MemberRow,
    Network,
    Pick,
    PrefixesReport,
    PrefixRow,
    SessionRow,
    SessionsReport,
    SingleReport,
    SingleRow,
    UnevenRow,
    as_csv,
)
from headrace.routes.view import RoutesView
from headrace.wire.codec import encode

router = APIRouter(route_class=GuardedRoute, tags=["routes"])

T = TypeVar("T")

MOST_ROWS = 10_000
MOST_DETAILED = 1_000
"""Rows of a page up to which AS path, next hop and communities are looked up."""


class Form(StrEnum):
    """How a report is written."""

    JSON = "json"
    CSV = "csv"


class _Page:
    """What all reports may be asked with."""

    def __init__(
        self,
        site: Annotated[str, Query(max_length=63, description="Only this site.")] = "",
        appliance: Annotated[str, Query(max_length=63, description="Only this appliance.")] = "",
        prefix: Annotated[str, Query(max_length=60, description="Routes inside or around this.")] = "",
        offset: Annotated[int, Query(ge=0, lt=2**31)] = 0,
        limit: Annotated[int, Query(ge=1, le=MOST_ROWS)] = 100,
        form: Annotated[Form, Query(alias="format")] = Form.JSON,
    ) -> None:
        try:
            parse_prefix(prefix or "::/0")
        except RouteError as error:
            raise invalid(error) from None
        self.pick = Pick(site_id=site, appliance_id=appliance, prefix=prefix)
        self.offset, self.limit, self.form = offset, limit, form

    def cut(self, items: Iterable[T]) -> tuple[int, list[T]]:
        """How many there are, and those of this page."""
        iterator = iter(items)
        skipped = sum(1 for _ in islice(iterator, self.offset))
        page = list(islice(iterator, self.limit))
        return skipped + len(page) + sum(1 for _ in iterator), page

    def answer(self, report: Any, shape: type[Any], rows: Sequence[Any]) -> Response:
        """The report, or its rows as CSV."""
        headers = {"cache-control": "no-store", "x-total": str(report.total)}
        if self.form is Form.CSV:
            return Response(as_csv(shape, rows), media_type="text/csv; charset=utf-8", headers=headers)
        return Response(encode(report), media_type="application/json", headers=headers)


WithPage = Annotated[_Page, Depends(_Page)]


def _known(parts: Parts) -> tuple[RoutesView, Network]:
    fleet = parts.views.newest()
    network = Network(
        sites={site.site_id: site for site in fleet.sites},
        site_of={one.appliance.appliance_id: one.appliance.site_id for one in fleet.appliances},
    )
    return parts.routing.view(), network


@router.get("/v1/routes/sessions", response_model=SessionsReport)
def sessions(parts: WithParts, page: WithPage) -> Response:
    """BGP sessions: state, whether their routes count, prefixes heard and filtered."""
    view, network = _known(parts)
    total, rows = page.cut(list_sessions(view, network, page.pick))
    vrps = view.vrps
    report = SessionsReport(
        at_s=view.at_s,
        total=total,
        rows=tuple(rows),
        rpki_state=vrps.state,
        rpki_count=vrps.table.count if vrps.table else 0,
        rpki_error=vrps.error,
    )
    return page.answer(report, SessionRow, rows)


@router.get("/v1/routes/prefixes", response_model=PrefixesReport)
def prefixes(parts: WithParts, page: WithPage) -> Response:
    """Routes by site, appliance and session, those that do not count too."""
    view, network = _known(parts)
    return _routes(parts, page, view, list_routes(view, network, page.pick))


@router.get("/v1/routes/filtered", response_model=PrefixesReport)
def filtered(
    parts: WithParts,
    page: WithPage,
    reason: Annotated[FilterReason | None, Query(description="Only this reason.")] = None,
) -> Response:
    """Routes that were heard and do not count, each with its reason."""
    view, network = _known(parts)
    return _routes(parts, page, view, list_routes(view, network, page.pick, only_filtered=True, reason=reason))


@router.get("/v1/routes/imbalance", response_model=ImbalanceReport)
def imbalance(parts: WithParts, page: WithPage) -> Response:
    """Sites whose members do not hear the same, and the prefixes that some of them miss. CSV: the prefixes."""
    view, network = _known(parts)
    members, uneven = find_imbalance(view, network, page.pick)
    total, rows = page.cut(uneven)
    report = ImbalanceReport(at_s=view.at_s, total=total, rows=tuple(members), prefixes=tuple(rows))
    return page.answer(report, UnevenRow, rows) if rows else page.answer(report, MemberRow, members)


@router.get("/v1/routes/single", response_model=SingleReport)
def single(
    parts: WithParts,
    page: WithPage,
    covered: Annotated[bool, Query(description="Also those around which another site hears a prefix.")] = False,
) -> Response:
    """Prefixes with no second site."""
    view, network = _known(parts)
    total, found = page.cut(find_single(view, network, page.pick, with_covered=covered))
    rows = [one.show() for one in found]
    return page.answer(SingleReport(at_s=view.at_s, total=total, rows=tuple(rows)), SingleRow, rows)


@router.get("/v1/routes/leaks", response_model=LeaksReport)
def leaks(parts: WithParts, page: WithPage) -> Response:
    """Routes heard beyond their scope, as table [routes.leaks] tells it."""
    view, network = _known(parts)
    total, rows = page.cut(find_leaks(view, network, page.pick, parts.config.routes.leaks))
    return page.answer(LeaksReport(at_s=view.at_s, total=total, rows=tuple(rows)), LeakRow, rows)


@router.get("/v1/routes/changes", response_model=ChangesReport)
def changes(
    parts: WithParts, page: WithPage, since: Annotated[float, Query(ge=0, lt=1e11, description="UTC epoch seconds.")]
) -> Response:
    """Routes that were announced, withdrawn or changed since a time."""
    view, network = _known(parts)
    try:
        found = list(read_changes(parts.store, view, network, page.pick, since_s=since))
    except RouteError as error:
        raise invalid(f"the tables of {since:.0f} cannot be compared: {error}") from None
    total, rows = page.cut(row for one in found for row in one.rows())
    compared = [one.since_s for one in found if one.since_s is not None]
    report = ChangesReport(
        at_s=view.at_s, total=total, rows=tuple(rows), since_s=since, compared_s=min(compared, default=None)
    )
    return page.answer(report, ChangeRow, rows)


def _routes(parts: Parts, page: _Page, view: RoutesView, found: Iterable[PlacedRoutes]) -> Response:
    """A page of routes, counted without making a row of each."""
    counts: Counter[str] = Counter()
    total, picked = 0, list[tuple[PlacedRoutes, int]]()
    for one in found:
        codes, numbers = _count(one)
        for code, number in zip(codes, numbers, strict=True):
            counts[FILTER_REASONS[code - 1] if code else ""] += number
        start, end = max(0, page.offset - total), max(0, page.offset + page.limit - total)
        picked += [(one, row) for row in one.rows[start:end].tolist()]
        total += len(one.rows)
    learned = {one: read_learned(parts.store, one.session) for one in dict.fromkeys(one for one, _ in picked)}
    rows = [one.show(row, learned[one]) for one, row in picked]
    if len(rows) <= MOST_DETAILED:
        rows = _with_details(parts, picked, rows)
    report = PrefixesReport(at_s=view.at_s, total=total, rows=tuple(rows), counts=dict(counts))
    return page.answer(report, PrefixRow, rows)


def _count(one: PlacedRoutes) -> tuple[list[int], list[int]]:
    counts = Counter(one.codes[one.rows].tolist())
    return list(counts), list(counts.values())


def _with_details(parts: Parts, picked: list[tuple[PlacedRoutes, int]], rows: list[PrefixRow]) -> list[PrefixRow]:
    """Rows with what only the chunks say; as they are where a chunk is gone."""
    wanted: dict[str, set[Prefix]] = {}
    places: list[tuple[str, Prefix]] = []
    for one, row in picked:
        table = one.session.counted.table
        prefix = table.columns.prefix(row)
        digest = table.places[int(np.searchsorted(table.ends, row, side="right"))].digest
        places.append((digest, prefix))
        wanted.setdefault(digest, set()).add(prefix)
    known: dict[tuple[str, Prefix], Attributes] = {}
    for digest, packed in parts.store.chunks(sorted(wanted)).items():
        try:
            found = find_attributes(packed, wanted[digest])
        except RouteError:
            continue
        known.update({(digest, prefix): attributes for prefix, attributes in found.items()})
    return [_detailed(row, known.get(place)) for row, place in zip(rows, places, strict=True)]


def _detailed(row: PrefixRow, attributes: Attributes | None) -> PrefixRow:
    if attributes is None:
        return row
    return replace(
        row,
        as_path=_show_path(attributes.as_path),
        next_hop=attributes.next_hop,
        communities=" ".join(attributes.communities),
    )


def _show_path(path: AsPath) -> str:
    return " ".join(str(hop) if isinstance(hop, int) else "{" + ",".join(map(str, hop)) + "}" for hop in path)
