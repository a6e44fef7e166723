"""From tables to what steering ranks by."""

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.base.ids import ApplianceId
from headrace.routes.effective import (
    CountedTable,
    Judge,
    choose_routes,
    chunks_to_read,
    compare_tables,
    empty_table,
    group_hearings,
    judge_again,
    judge_table,
)
from headrace.routes.hygiene import FILTER_REASONS, FilterReason, HygieneRules
from headrace.routes.model import AddressFamily, Heard, Prefix, RouteColumns, parse_prefix
from headrace.routes.rpki import build_table
from headrace.routes.testing_tables import LISTENER, heard, judged, make_routes, pack_table

V4, V6 = AddressFamily.IPV4, AddressFamily.IPV6
JUDGE = Judge(rules=HygieneRules(takes_bogons=True), vrps=None)
NAMES = ["10.0.0.0/8", "10.0.0.0/16", "10.1.0.0/16", "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24"]
ROUTES = st.dictionaries(
    st.sampled_from([parse_prefix(name) for name in NAMES]),
    st.builds(
        lambda hops, med, at: heard(*range(1, hops + 1), med=med, learned_s=at),
        st.integers(1, 4),
        st.none() | st.integers(0, 3),
        st.sampled_from([5.0, 9.0]),
    ),
)


def shown(columns: RouteColumns) -> list[tuple[Prefix, int, int]]:
    v4 = [columns.prefixes_v4[at : at + 5] for at in range(0, len(columns.prefixes_v4), 5)]
    v6 = [columns.prefixes_v6[at : at + 17] for at in range(0, len(columns.prefixes_v6), 17)]
    return [
        *zip(v4, columns.path_lengths_v4, columns.meds_v4, strict=True),
        *zip(v6, columns.path_lengths_v6, columns.meds_v6, strict=True),
    ]


def key(one: Heard) -> tuple[int, int]:
    return one.attributes.path_length, one.attributes.med or 0


@settings(max_examples=80)
@given(st.lists(ROUTES, max_size=3))
def test_the_best_of_several_sessions(tables: list[dict[Prefix, Heard]]) -> None:
    columns = choose_routes([CountedTable(table=judged(routes)) for routes in tables])
    best: dict[Prefix, tuple[int, int]] = {}
    for routes in tables:
        for prefix, one in routes.items():
            best[prefix] = min(best.get(prefix, (99, 0)), key(one))
    assert shown(columns) == [(prefix, *best[prefix]) for prefix in sorted(best)]


def test_both_families_and_equal_routes_have_one_digest() -> None:
    texts6 = ["2001:db8::/32", "2001:db8::/48", "2001:db8:1::/48"]
    six = judged(make_routes(texts6, 1, 2), V6)
    again = judged(make_routes(texts6, 1, 2, learned_s=1.0), V6)
    worse = judged(make_routes(texts6[1:], 1, 2, 3), V6)
    four = judged(make_routes(NAMES))
    one, two = (choose_routes([CountedTable(table=four), CountedTable(table=each)]) for each in (six, again))
    both = choose_routes([CountedTable(table=worse), CountedTable(table=six)])
    assert one.digest == two.digest
    assert [(prefix, 2, 0) for prefix in map(parse_prefix, texts6)] == shown(both)
    assert len(shown(one)) == len(NAMES) + 3
    names = [ApplianceId(name) for name in ("a2", "a1", "b1", "idle")]
    heard_by = dict(zip(names, (one, two, both, choose_routes([])), strict=True))
    hearings = group_hearings(heard_by)
    assert [hearing.appliances for hearing in hearings] == [("a1", "a2"), ("b1",)]


@settings(max_examples=80)
@given(ROUTES, ROUTES)
def test_a_change_reads_only_what_changed_and_ends_the_same(old: dict[Prefix, Heard], new: dict[Prefix, Heard]) -> None:
    before = judged(old)
    _, places, chunks = pack_table(new)
    needed = chunks_to_read(places, before)
    same = {place.digest for place in before.places}
    assert set(needed) == set(chunks) - same
    after = judge_table(places, before, {digest: chunks[digest] for digest in needed})
    fresh = judged(new)
    assert after.columns.prefixes() == fresh.columns.prefixes()
    assert after.columns.meds.tolist() == fresh.columns.meds.tolist()
    changes = compare_tables(before, after)
    assert changes.announced.prefixes() == b"".join(sorted(set(new) - set(old)))
    assert changes.withdrawn.prefixes() == b"".join(sorted(set(old) - set(new)))
    other = [p for p in sorted(set(old) & set(new)) if old[p].attributes != new[p].attributes]
    assert changes.changed.prefixes() == b"".join(other)
    for rows, columns in ((changes.announced_rows, changes.announced), (changes.changed_rows, changes.changed)):
        assert after.columns.take(rows).prefixes() == columns.prefixes()
    assert changes.count == len(set(new) ^ set(old)) + len(other)


def test_changes_of_ipv6_tell_neighbours_apart() -> None:
    old = judged(make_routes(["2001:db8::1/128", "2001:db8::2/128"]), V6)
    new = judged(make_routes(["2001:db8::2/128", "2001:db8::3/128"]), V6)
    changes = compare_tables(old, new)
    assert (len(changes.announced), len(changes.withdrawn), len(changes.changed)) == (1, 1, 0)


def test_filtered_and_damped_routes_do_not_count() -> None:
    table = judged(make_routes([*NAMES, "0.0.0.0/0"]))
    counted = CountedTable(table=table, damped=frozenset({parse_prefix("10.0.0.0/16"), parse_prefix("2001:db8::/32")}))
    left = [prefix for prefix, _, _ in shown(choose_routes([counted]))]
    assert left == sorted(parse_prefix(name) for name in NAMES if name != "10.0.0.0/16")
    assert counted.damped_mask().sum() == 1


def test_judged_again_by_new_payloads() -> None:
    table = judged(make_routes(["193.0.0.0/24", "194.0.0.0/24"], 64496))
    vrps = build_table([(bytes([193, 0, 0, 0]), 16, 24, 64497)])
    again = judge_again(table, Judge(rules=HygieneRules(), vrps=vrps))
    assert [FILTER_REASONS[code - 1] if code else "" for code in sorted(again.reasons)] == [
        "",
        FilterReason.RPKI_INVALID,
    ]
    assert again.columns is table.columns


def test_a_chunk_of_another_family_adds_nothing() -> None:
    _, places, chunks = pack_table(make_routes(["2001:db8::/32"]), V6)
    assert len(judge_table(places, empty_table(V4, LISTENER, JUDGE), chunks)) == 0
