"""Lists and findings for operators."""

import csv
import io
from typing import Any

import pytest

from headrace.base.ids import ApplianceId, SiteId
from headrace.fleet.model import Site
from headrace.routes.balance import find_imbalance, find_leaks, find_single
from headrace.routes.effective import CountedTable, choose_routes
from headrace.routes.hygiene import FilterReason
from headrace.routes.listing import list_routes, list_sessions
from headrace.routes.model import AddressFamily, Heard, Prefix, RouteError, SessionState, parse_prefix
from headrace.routes.reports import (
    Imbalance,
    LeakReason,
    LeakRules,
    Network,
    Pick,
    PrefixRow,
    Scope,
    SessionRow,
    UnevenRow,
    as_csv,
    check_scopes,
)
from headrace.routes.retention import Counting, Standing, TableRef
from headrace.routes.testing_tables import heard, judged, make_routes, make_session
from headrace.routes.view import HeardAppliance, HeardSession, RoutesView

V4, V6 = AddressFamily.IPV4, AddressFamily.IPV6
ALL = Pick()


def session(routes: dict[Prefix, Heard], family: AddressFamily = V4, **fields: Any) -> HeardSession:
    table = judged(routes, family)
    more = {name: fields.pop(name) for name in ("is_damped", "damped") if name in fields}
    return HeardSession(
        session=make_session(family=family, **fields),
        counting=Counting(table=TableRef(digest="x", routes=len(table)), standing=Standing.ESTABLISHED),
        counted=CountedTable(table=table, damped=more.get("damped", frozenset())),
        is_damped=more.get("is_damped", False),
    )


def view_of(**appliances: list[HeardSession]) -> RoutesView:
    made = {
        ApplianceId(name): HeardAppliance(
            appliance_id=ApplianceId(name),
            sessions=tuple(sessions),
            routes=choose_routes([one.counted for one in sessions if not one.is_damped]),
        )
        for name, sessions in appliances.items()
    }
    return RoutesView(at_s=5.0, version=1, appliances=made)


def network(*names: str, **static: tuple[str, ...]) -> Network:
    """Appliances a1, a2 stand at site a, b1 at site b."""
    sites = {SiteId(name[0]) for name in names} | {SiteId(name) for name in static}
    return Network(
        sites={name: Site(site_id=name, prefixes=static.get(name, ())) for name in sites},
        site_of={ApplianceId(name): SiteId(name[0]) for name in names},
    )


def test_sessions_say_what_counts() -> None:
    damped = frozenset({parse_prefix("10.0.0.0/16")})
    view = view_of(
        a1=[session({**make_routes(["10.0.0.0/16", "10.1.0.0/16", "0.0.0.0/0"])}, damped=damped)],
        b1=[session(make_routes(["10.0.0.0/16"]), is_damped=True, drops=9)],
    )
    rows = list(list_sessions(view, network("a1", "b1"), ALL))
    assert [(row.site_id, row.prefixes, row.counted, row.filtered, row.is_damped) for row in rows] == [
        ("a", 3, 1, 2, False),
        ("b", 1, 0, 1, True),
    ]
    assert [row.appliance_id for row in list_sessions(view, network("a1", "b1"), Pick(site_id="b"))] == ["b1"]


def test_routes_have_their_reasons_and_are_found_by_prefix() -> None:
    damped = frozenset({parse_prefix("10.0.0.0/16")})
    texts = ["10.0.0.0/8", "10.0.0.0/16", "10.0.128.0/24", "11.0.0.0/8", "0.0.0.0/0"]
    view = view_of(a1=[session(make_routes(texts), damped=damped), session(make_routes(["2001:db8::/32"]), V6)])

    def shown(pick: Pick, **how: Any) -> list[tuple[str, str]]:
        placed = list_routes(view, network("a1"), pick, **how)
        rows = [one.show(row) for one in placed for row in one.rows.tolist()]
        return [(row.prefix, str(row.reason or "")) for row in rows]

    assert shown(Pick(prefix="10.0.0.0/16")) == [
        ("0.0.0.0/0", "default-route"),
        ("10.0.0.0/8", ""),
        ("10.0.0.0/16", "damped"),
        ("10.0.128.0/24", ""),
    ]
    assert shown(ALL, only_filtered=True) == [("0.0.0.0/0", "default-route"), ("10.0.0.0/16", "damped")]
    assert shown(ALL, reason=FilterReason.DAMPED) == [("10.0.0.0/16", "damped")]
    assert shown(Pick(prefix="2001:db8:5::/48")) == [("2001:db8::/32", "")]
    assert shown(Pick(prefix="2001:db9::/48")) == []
    with pytest.raises(RouteError, match="is no prefix"):
        shown(Pick(prefix="10.0.0.1/8"))


def test_members_that_hear_less_or_nothing() -> None:
    both = make_routes(["10.0.0.0/16", "10.1.0.0/16"])
    v6 = session(make_routes(["2001:db8::/32"]), V6)
    view = view_of(
        a1=[session(both), v6],
        a2=[session(make_routes(["10.0.0.0/16"])), session({}, V6, state=SessionState.DOWN)],
        b1=[session(both)],
        b2=[session(both)],
    )
    members, uneven = find_imbalance(view, network("a1", "a2", "a3", "b1", "b2"), ALL)
    assert [(row.family, row.appliance_id, row.problem, row.heard, row.missing) for row in members] == [
        (V4, "a1", None, 2, 0),
        (V4, "a2", Imbalance.MISSES_PREFIXES, 1, 1),
        (V4, "a3", Imbalance.NO_SESSION, 0, 2),
        (V6, "a1", None, 1, 0),
        (V6, "a2", Imbalance.NO_ROUTES, 0, 1),
        (V6, "a3", Imbalance.NO_SESSION, 0, 1),
    ]
    rows = [(row.prefix, row.heard_by, row.missing_at) for row in uneven]
    assert rows == [
        ("10.0.0.0/16", ("a1", "a2"), ("a3",)),
        ("10.1.0.0/16", ("a1",), ("a2", "a3")),
        ("2001:db8::/32", ("a1",), ("a2", "a3")),
    ]
    assert find_imbalance(view, network("b1", "b2"), ALL)[0] == []


def test_prefixes_without_a_second_site() -> None:
    view = view_of(
        a1=[session(make_routes(["10.0.0.0/16", "10.1.0.0/16", "12.0.0.0/8"]))],
        a2=[session(make_routes(["12.0.0.0/8"]))],
        b1=[session(make_routes(["10.0.0.0/16"]))],
    )
    placed = network("a1", "a2", "b1", b=("10.0.0.0/8", "192.0.2.0/24"))

    def shown(pick: Pick, **how: Any) -> list[tuple[str, str, str]]:
        rows = [one.show() for one in find_single(view, placed, pick, **how)]
        return [(row.prefix, row.site_id, row.cover) for row in rows]

    assert shown(ALL) == [
        ("10.0.0.0/8", "b", ""),
        ("10.1.0.0/16", "a", "10.0.0.0/8"),
        ("12.0.0.0/8", "a", ""),
        ("192.0.2.0/24", "b", ""),
    ]
    assert shown(Pick(site_id="a"), with_covered=False) == [("12.0.0.0/8", "a", "")]


def test_routes_beyond_their_scope() -> None:
    view = view_of(
        a1=[session({**make_routes(["10.0.0.0/16", "10.1.0.0/16"], 1, 2), **make_routes(["99.0.0.0/8"], 1, 2, 3)})],
        a2=[session(make_routes(["10.0.0.0/15"], 1, 2))],
        b1=[session({parse_prefix("20.0.0.0/8"): heard(7, 8), parse_prefix("21.0.0.0/8"): heard(7, 9)})],
    )
    placed = network("a1", "a2", "b1", b=("20.0.0.0/8",))

    def shown(**rules: Any) -> list[tuple[str, LeakReason]]:
        return [(row.prefix, row.reason) for row in find_leaks(view, placed, ALL, LeakRules(**rules))]

    assert shown() == [("99.0.0.0/8", LeakReason.ONE_MEMBER_ONLY), ("10.0.0.0/15", LeakReason.ONE_MEMBER_ONLY)]
    assert shown(by_members=False) == []
    assert shown(by_members=False, longest_path=2) == [("99.0.0.0/8", LeakReason.LONG_PATH)]
    assert shown(by_members=False, site_prefixes_are_scope=True) == [("21.0.0.0/8", LeakReason.OUTSIDE_SCOPE)]
    scopes = (
        Scope(site_id=SiteId("a"), prefixes=("10.0.0.0/8",)),
        Scope(site_id=SiteId("b"), origin_as=(8,)),
    )
    assert shown(by_members=False, scopes=scopes) == [
        ("99.0.0.0/8", LeakReason.OUTSIDE_SCOPE),
        ("21.0.0.0/8", LeakReason.FOREIGN_ORIGIN),
    ]
    with pytest.raises(RouteError, match="is no prefix"):
        check_scopes(LeakRules(scopes=(Scope(site_id=SiteId("a"), prefixes=("10.0.0.1/8",)),)))


def test_csv_says_what_the_rows_say_and_holds_no_formula() -> None:
    view = view_of(a1=[session(make_routes(["10.0.0.0/16"]), detail='=HYPERLINK("x"), "quoted"')])
    text = as_csv(SessionRow, list_sessions(view, network("a1"), ALL))
    row = next(csv.DictReader(io.StringIO(text)))
    assert (row["appliance_id"], row["prefixes"], row["until_s"]) == ("a1", "1", "")
    assert row["detail"] == '\'=HYPERLINK("x"), "quoted"'
    uneven = UnevenRow(site_id="a", prefix="10.0.0.0/8", heard_by=("a1", "a2"), missing_at=())
    assert as_csv(UnevenRow, [uneven]).splitlines()[1] == "a,10.0.0.0/8,a1 a2,"
    assert as_csv(PrefixRow, []).startswith("prefix,site_id,")
