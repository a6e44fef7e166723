"""Shares, orders, who goes out, forecasts: the decisions about fills that are not windows or sources."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.base.ids import ApplianceId, Sha256, TitleId
from headrace.fill.caps import Filler, share_inbound
from headrace.fill.escalation import Reach, may_reach, place_in_line, reach_of
from headrace.fill.forecast import Backlog, Pace, end_after, forecast_fill, titles_that_fit
from headrace.fill.model import Escalation, FillSource, SourceKind
from headrace.fill.orders import FillOrder, OrderEnd, Urgency, UrgencyReason, end_of, judge_order
from headrace.fill.windows import Window

HOUR_S = 3600.0
POLICY = Escalation(near_s=100, network_s=200, origin_s=400)
NIGHTS = tuple(
    Window(opens_s=day * 24 * HOUR_S + 2 * HOUR_S, closes_s=day * 24 * HOUR_S + 14 * HOUR_S) for day in range(9)
)


def fillers(*hungry: bool, inbound: int = 0) -> list[Filler]:
    return [
        Filler(appliance_id=ApplianceId(f"a{at}"), is_hungry=one, inbound_bytes=inbound)
        for at, one in enumerate(hungry)
    ]


@given(st.lists(st.booleans(), min_size=1, max_size=40), st.integers(1000, 10**11))
def test_the_hungry_share_the_rate_of_a_site_evenly_and_to_within_five_percent(hungry: list, rate_bps: int) -> None:
    shares = share_inbound(fillers(*hungry), rate_bps=rate_bps)
    own = [shares[ApplianceId(f"a{at}")] or 0 for at, one in enumerate(hungry) if one]
    if own:
        assert 0.95 * rate_bps <= sum(own) <= rate_bps
        assert len(set(own)) == 1
    assert all(share is not None and 0 < share <= rate_bps for share in shares.values())


def test_without_a_rate_there_is_no_bound_and_with_its_volume_fetched_a_site_takes_nothing() -> None:
    assert set(share_inbound(fillers(True, False), rate_bps=0).values()) == {None}
    full = share_inbound(fillers(True, True, inbound=500), rate_bps=10, volume_bytes=1000)
    assert set(full.values()) == {0}
    assert 0 not in share_inbound(fillers(True, True, inbound=499), rate_bps=10, volume_bytes=1000).values()


def an_order(by_s: float | None = None) -> FillOrder:
    return FillOrder(order_id="o1", title_id=TitleId("film"), by_s=by_s, expires_s=10**9)


@pytest.mark.parametrize(
    ("by_h", "left_gb", "now_h", "urgency", "reason"),
    [
        (None, 1, 20, Urgency.PASSES_WINDOW, UrgencyReason.ASKED_NOW),
        # 12 h at 1 Gb/s are 5400 GB, with the margin 4320.
        (26, 4000, 0, Urgency.FIRST, UrgencyReason.TIME_IN_WINDOWS),
        (26, 4400, 0, Urgency.PASSES_WINDOW, UrgencyReason.NO_TIME_IN_WINDOWS),
        (26, 4000, 4, Urgency.PASSES_WINDOW, UrgencyReason.NO_TIME_IN_WINDOWS),
        (20, 1, 15, Urgency.PASSES_WINDOW, UrgencyReason.NO_TIME_IN_WINDOWS),
        (50, 8000, 0, Urgency.FIRST, UrgencyReason.TIME_IN_WINDOWS),
    ],
)
def test_an_order_passes_the_window_when_windows_do_not_do(by_h, left_gb, now_h, urgency, reason) -> None:
    order = an_order(None if by_h is None else by_h * HOUR_S)
    windows = [one for one in NIGHTS if one.closes_s > now_h * HOUR_S]
    told = judge_order(order, windows, left_bytes=left_gb * 10**9, rate_bps=10**9, now_s=now_h * HOUR_S)
    assert told == (urgency, reason)


def test_where_there_is_no_window_a_date_only_sets_the_order_and_orders_end() -> None:
    told = judge_order(an_order(10.0), (), left_bytes=10**15, rate_bps=1, now_s=0.0)
    assert told[0] is Urgency.FIRST
    assert end_of(an_order(), is_filled=True, now_s=0.0) is OrderEnd.DONE
    assert end_of(an_order(), is_filled=False, now_s=0.0) is None
    assert end_of(an_order(), is_filled=False, now_s=10**9) is OrderEnd.EXPIRED


def test_masters_go_anywhere_and_the_others_further_the_longer_they_wait() -> None:
    assert may_reach(0, 1, 0.0, POLICY) is Reach.ORIGIN
    assert may_reach(1, 2, 0.0, POLICY) is Reach.ORIGIN
    waits = [may_reach(1, 1, waited_s, POLICY) for waited_s in (0, 99, 100, 200, 399, 400)]
    assert waits == [Reach.PEERS, Reach.PEERS, Reach.NEAR, Reach.NETWORK, Reach.NETWORK, Reach.ORIGIN]
    assert may_reach(3, 1, 299.0, POLICY) is Reach.PEERS
    assert may_reach(3, 1, 1200.0, POLICY) is Reach.ORIGIN


def test_how_far_it_is_to_each_kind_of_source() -> None:
    kinds = [
        FillSource(kind=SourceKind.PEER, base_url="http://p"),
        FillSource(kind=SourceKind.TIER, base_url="http://n", is_near=True),
        FillSource(kind=SourceKind.TIER, base_url="http://f"),
        FillSource(kind=SourceKind.ORIGIN, base_url="http://o"),
    ]
    assert [reach_of(one) for one in kinds] == list(Reach)


NAMES = [Sha256(f"{number:064x}") for number in range(600)]


@given(st.sets(st.integers(0, 50), min_size=1, max_size=12))
def test_every_file_has_one_line_of_all_members(numbers: set) -> None:
    members = [ApplianceId(f"a{number}") for number in numbers]
    for name in NAMES[:20]:
        assert sorted(place_in_line(one, members, name) for one in members) == list(range(len(members)))
        assert place_in_line(ApplianceId("stranger"), members, name) == len(members)


def test_lines_share_the_files_and_a_member_that_leaves_moves_only_its_own() -> None:
    members = [ApplianceId(f"a{number}") for number in range(6)]
    first = {name: next(one for one in members if place_in_line(one, members, name) == 0) for name in NAMES}
    shares = [list(first.values()).count(one) for one in members]
    assert min(shares) > 60
    left = members[1:]
    after = {name: next(one for one in left if place_in_line(one, left, name) == 0) for name in NAMES}
    assert all(after[name] == first[name] for name in NAMES if first[name] != members[0])


def backlog(*sizes_gb: float, inbound_gb: float = 0.0) -> Backlog:
    sizes = {ApplianceId(f"a{at}"): int(size * 10**9) for at, size in enumerate(sizes_gb)}
    return Backlog(by_appliance=sizes, inbound_bytes=int(inbound_gb * 10**9))


def test_a_forecast_says_when_it_ends_and_what_the_window_leaves_over() -> None:
    pace = Pace(appliance_bps=10**9, site_bps=10**9)
    fits = forecast_fill(backlog(900, 450, inbound_gb=900), pace, NIGHTS, now_s=0.0)
    assert (fits.ends_s, fits.left_over_bytes) == (4 * HOUR_S, 0)
    # 8100 GB at 1 Gb/s need 18 h: 12 in the first night, 6 in the second.
    long = forecast_fill(backlog(8100, inbound_gb=8100), pace, NIGHTS, now_s=0.0)
    assert long.ends_s == pytest.approx((24 + 2 + 6) * HOUR_S)
    assert long.left_over_bytes == pytest.approx(2700 * 10**9, rel=1e-6)
    # In the window only what is left of it counts.
    assert forecast_fill(backlog(900), pace, NIGHTS, now_s=13 * HOUR_S).left_over_bytes == pytest.approx(450e9)
    nothing = forecast_fill(backlog(0), pace, NIGHTS, now_s=0.0)
    assert (nothing.ends_s, nothing.left_over_bytes) == (None, 0)
    at_once = forecast_fill(backlog(900), pace, (), now_s=5.0)
    assert (at_once.ends_s, at_once.left_over_bytes) == (5.0 + 2 * HOUR_S, 0)


def test_the_edge_of_a_site_counts_once_however_many_need_the_files() -> None:
    pace = Pace(appliance_bps=0, site_bps=10**9)
    told = forecast_fill(backlog(450, 450, 450, inbound_gb=450), pace, NIGHTS, now_s=2 * HOUR_S)
    assert told.ends_s == 3 * HOUR_S


def test_titles_fit_in_their_order_and_windows_end_with_the_last() -> None:
    titles = [(TitleId("a"), 100), (TitleId("b"), 300), (TitleId("c"), 1)]
    assert titles_that_fit(titles, rate_bps=8, open_s=400) == {"a": True, "b": True, "c": False}
    assert end_after(24 * HOUR_S, NIGHTS[:1], now_s=0.0) == (14 + 12) * HOUR_S
