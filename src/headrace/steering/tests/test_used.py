"""Each byte in exactly one class: by one cause alone, by what the session was given, and when it cannot be said."""

from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.catalog.fileset import FileSet
from headrace.fleet.model import Health, HealthReason, HealthState, SiteKind
from headrace.steering.compile import CompiledSnapshot, compile_snapshot
from headrace.steering.misses import MissClass
from headrace.steering.rank import Limits
from headrace.steering.replay import LoggedSession
from headrace.steering.testing import file_name, make_appliance, make_site, make_snapshot, make_title, numbers_of
from headrace.steering.used import SLACK_S, Served, UsedMisses, explain_used, lengths_of

TITLES = [make_title("film"), make_title("other")]
ALL = numbers_of(TITLES)
SICK = Health(state=HealthState.UNHEALTHY, reason=HealthReason.NGINX_DOWN, is_turned_up=True)
LENGTHS = {4: {24}, 16: {48}}
LAST_S = 60.0 + SLACK_S
"""A session of a title of testing.make_title may last so long."""


def compiled(**near: object) -> CompiledSnapshot:
    """Two appliances at the near site, one behind a shorter prefix, one at a far site behind a shorter one still."""
    sites = [
        make_site("near", "192.0.2.0/24", "2001:db8:1::/48"),
        make_site("mid", "192.0.0.0/20", "2001:db8::/32"),
        make_site("far", "192.0.0.0/16", kind=SiteKind.PUBLIC_PEERING),
    ]
    fleet = [
        make_appliance("n1", "near", **{"holdings": ALL, **near}),
        make_appliance("n2", "near", **{"holdings": ALL, **near}),
        make_appliance("m1", "mid", holdings=ALL),
        make_appliance("f1", "far", holdings=ALL),
    ]
    return compile_snapshot(make_snapshot(sites, fleet, TITLES))


WELL, EMPTY, DOWN, FULL = compiled(), compiled(holdings=FileSet([2])), compiled(health=SICK), compiled(tx_bps=9.9e9)


def session(
    appliance: str, at_s: float = 1000.0, *, title: str = "film", client: bytes = b"\xc0\x00\x02\x05"
) -> LoggedSession:
    return LoggedSession(at_s=at_s, client=client, title_id=title, appliance_id=appliance, session_bps=8e6)


def served(
    appliance: str,
    at_s: float = 1030.0,
    size: int = 100,
    *,
    title: str = "film",
    network: str = "192.0.2.0/24",
    is_fetched: bool = False,
    file: str = "",
) -> Served:
    return Served(
        network=network,
        file=file or file_name(f"{title}/v720"),
        appliance_id=appliance,
        is_fetched=is_fetched,
        at_s=at_s,
        bytes=size,
    )


def explained(
    snapshot: CompiledSnapshot | Callable[[float], CompiledSnapshot | None],
    sessions: Iterable[LoggedSession],
    rows: Iterable[Served],
    site: str = "",
) -> UsedMisses:
    at = snapshot if callable(snapshot) else lambda _: snapshot
    found = explain_used(sessions, rows, at, Limits(), lengths=LENGTHS, top=100, site=site)
    assert found.bytes == sum(found.by_class.values()) == sum(found.by_tier.values())
    assert found.bytes == sum(row.bytes for row in found.hours)
    assert sum(row.bytes for row in found.rows) == found.bytes - found.by_class.get("best", 0)
    return found


@pytest.mark.parametrize(
    ("snapshot", "first", "used", "reason"),
    [
        (WELL, "n1", "n1", MissClass.NONE),
        # Any of the best ones does, whichever came first in the answer.
        (WELL, "n1", "n2", MissClass.NONE),
        (WELL, "f1", "n2", MissClass.NONE),
        (WELL, "n1", "f1", MissClass.CHOICE),
        (WELL, "m1", "f1", MissClass.CHOICE),
        (EMPTY, "m1", "f1", MissClass.CHOICE),
        # It was given no better one, so it is steering's miss.
        (EMPTY, "m1", "m1", MissClass.CONTENT),
        (EMPTY, "f1", "m1", MissClass.CONTENT),
        (DOWN, "m1", "m1", MissClass.HEALTH),
        (FULL, "m1", "m1", MissClass.LOAD),
        (WELL, "m1", "m1", MissClass.OTHER),
        (WELL, "", "m1", MissClass.OTHER),
        # Of an appliance that is gone nothing is known, but that the near one was given.
        (WELL, "n1", "gone", MissClass.CHOICE),
    ],
)
def test_a_byte_has_the_class_of_its_cause(snapshot, first, used, reason):
    found = explained(snapshot, [session(first)], [served(used)])
    assert found.by_class == {reason: 100}
    if reason is not MissClass.NONE:
        assert (found.rows[0].site_id, found.rows[0].title_id, found.rows[0].reason) == ("near", "film", reason)


@pytest.mark.parametrize(
    ("later", "reason"), [(DOWN, MissClass.HEALTH), (EMPTY, MissClass.CONTENT), (WELL, MissClass.CHOICE)]
)
def test_it_is_no_choice_to_leave_an_appliance_that_failed(later, reason):
    found = explained(lambda at_s: WELL if at_s < 1010 else later, [session("n1")], [served("m1")])
    assert found.by_class == {reason: 100}


def test_what_the_best_had_to_fetch_is_missing_content():
    found = explained(WELL, [session("n1")], [served("n1", is_fetched=True)])
    assert (found.by_class, found.by_tier) == ({"content": 100}, {"fetched": 100})


def test_a_client_whom_nobody_hears_misses_by_route():
    far = session("f1", client=b"\x08\x08\x08\x08")
    found = explained(WELL, [far], [served("f1", network="8.8.8.0/24")])
    assert (found.by_class, found.rows[0].site_id) == ({"route": 100}, "")


def test_the_nearest_earlier_session_of_the_network_counts():
    sessions = [session("n1", 1000.0), session("m1", 1020.0, client=b"\xc0\x00\x02\x99"), session("n1", 1050.0)]
    found = explained(EMPTY, sessions, [served("m1", 1010.0, 1), served("m1", 1030.0, 2), served("m1", 1060.0, 4)])
    # The near ones do not hold it, so leaving n1 is no choice, whoever was given what.
    assert found.by_class == {"content": 7}
    found = explained(WELL, sessions, [served("m1", 1010.0, 1), served("m1", 1030.0, 2), served("m1", 1060.0, 4)])
    assert found.by_class == {"choice": 5, "other": 2}


def test_sessions_that_the_log_has_late_are_put_in_order():
    found = explained(
        WELL, [session("m1", 1002.0), session("n1", 1001.0)], [served("m1", 1001.5), served("m1", 1003.0)]
    )
    assert found.by_class == {"choice": 100, "other": 100}


def test_networks_of_ipv6_are_joined():
    client = bytes.fromhex("20010db8000100000000000000000007")
    found = explained(WELL, [session("n1", client=client)], [served("n1", network="2001:db8:1::/48")])
    assert found.by_class == {"best": 100}


@pytest.mark.parametrize(
    ("row", "why"),
    [
        (served("n1", network="192.0.3.0/24"), "no_session"),
        (served("n1", title="other"), "no_session"),
        (served("n1", 999.0), "no_session"),
        (served("n1", 1000.1 + LAST_S), "no_session"),
        (served("n1", network=""), "no_network"),
        (served("n1", network="0.0.0.0/0"), "no_network"),
        (served("n1", network="192.0.2.0/99"), "no_network"),
        (served("n1", network="unix:"), "no_network"),
        (served("n1", file="ab" * 32), "no_title"),
        (served("n1", 5.0), "no_snapshot"),
        (served("n1", 9000.0), "after_log"),
    ],
)
def test_what_cannot_be_joined_is_told_apart(row, why):
    last = session("n1", 8000.0, title="other", client=b"\x08\x08\x08\x08")
    found = explained(lambda at_s: WELL if at_s > 10 else None, [session("n1"), last], [row])
    assert {name: size for name, size in found.unjoined.items() if size} == {why: 100}
    assert (found.bytes, found.rows) == (0, ())


def test_a_session_counts_until_its_title_and_a_pause_are_over():
    found = explained(WELL, [session("n1")], [served("n1", 999.9 + LAST_S)])
    assert found.by_class == {"best": 100}


def test_sessions_of_titles_that_were_withdrawn_are_not_judged():
    found = explained(WELL, [session("n1", title="gone")], [served("n1")])
    assert (found.unjudged_sessions, found.bytes) == (1, 0)


def test_one_site_alone():
    sessions = [session("n1"), session("m1", client=b"\xc0\x00\x03\x05")]
    rows = [served("f1"), served("f1", network="192.0.3.0/24")]
    assert explained(WELL, sessions, rows).by_class == {"choice": 200}
    found = explained(WELL, sessions, rows, site="mid")
    assert (found.by_class, found.rows[0].site_id) == ({"choice": 100}, "mid")


def test_lengths_of_networks():
    rows = [(False, "24"), (False, "0"), (False, "99"), (True, "48"), (True, "x"), (False, "")]
    assert lengths_of(rows) == {4: {24}, 16: {48}}


NAMES = st.sampled_from(["n1", "n2", "m1", "f1", "", "gone"])
TIMES = st.floats(900, 6000)
NETWORKS = st.sampled_from(["192.0.2.0/24", "192.0.3.0/24", "8.8.8.0/24", ""])
CLIENTS = st.sampled_from([b"\xc0\x00\x02\x05", b"\xc0\x00\x02\x06", b"\xc0\x00\x03\x05", b"\x08\x08\x08\x08"])
SNAPSHOTS = st.sampled_from([WELL, EMPTY, DOWN, FULL, None])
FILES = st.sampled_from(["film", "other", "none"])


@given(
    st.lists(st.builds(lambda *of: session(of[0], of[1], title=of[2], client=of[3]), NAMES, TIMES, FILES, CLIENTS)),
    st.lists(
        st.builds(
            lambda *of: served(of[0], of[1], of[2], title=of[3], network=of[4], is_fetched=of[5]),
            NAMES,
            TIMES,
            st.integers(1, 10**12),
            FILES,
            NETWORKS,
            st.booleans(),
        )
    ),
    st.lists(SNAPSHOTS, min_size=1, max_size=4),
)
def test_each_byte_lands_in_exactly_one_place(sessions, rows, snapshots):
    sessions.sort(key=lambda one: one.at_s)
    rows.sort(key=lambda one: one.at_s)
    asked: list[float] = []

    def at(at_s: float) -> CompiledSnapshot | None:
        asked.append(at_s)
        return snapshots[int(at_s // 1500) % len(snapshots)]

    found = explained(at, sessions, rows)
    assert found.bytes + sum(found.unjoined.values()) == sum(row.bytes for row in rows)
    assert all(size >= 0 for size in found.unjoined.values())
    # Each snapshot is read once: what is asked for never goes back.
    assert asked == sorted(asked)
