import threading
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.catalog.fileset import FileSet
from headrace.control.loops.reading import Catalog, FleetState
from headrace.control.loops.snapshot import Loads, RouteCompiler, SnapshotMaker, busy_ratio, coarse_bps, content_tag
from headrace.control.loops.testing import make_title
from headrace.control.model import FleetRow, SetHead, StoredReport, StoredTitle, Versions
from headrace.fleet.model import ApplianceReport, HealthState, LoadReport, Site
from headrace.fleet.testing import make_appliance, make_track
from headrace.steering.flatten import RouteMemory
from headrace.steering.testing import make_hearing
from headrace.wire.snapshot import unpack_snapshot

ORIGIN = "http://origin.example"
HELD = FileSet([1, 2])
ROW = FleetRow(
    appliance=make_appliance(),
    version=1,
    enrolled_at_s=1.0,
    desired=None,
    health=make_track().health,
    health_version=1,
    health_memory="",
    report=StoredReport(),
    holdings=SetHead(version=1, digest=HELD.digest(), count=2, total_bytes=2),
    plan=SetHead(),
)
TITLE = StoredTitle(title=make_title("film"), version=1, published_at_s=1.0, size_bytes=2, file_nos=(1, 2))
STATE = FleetState(
    control_id="store-a",
    versions=Versions(fleet=1, titles=1, holdings=1, plans=1, events=1),
    sites=(Site(site_id="s-1"),),
    rows=(ROW,),
    holdings={"a-1": HELD},
    plans={"a-1": FileSet()},
    held_of_plan={"a-1": 0},
    catalog=Catalog(titles=(TITLE,), files={}, published=HELD),
    is_held=False,
)
HEALTH, LOADS = {"a-1": ROW.health}, Loads(tx_bps={"a-1": 0.0})


def test_what_is_compiled_is_what_steering_reads():
    maker = SnapshotMaker()
    snapshot = maker.compile(STATE, HEALTH, LOADS, version=7, built_at_s=5.0, origin_url=ORIGIN)
    kept = maker.stored(snapshot, '"tag"')
    assert (kept.version, kept.etag) == (7, '"tag"')
    assert unpack_snapshot(kept.packed) == snapshot
    assert snapshot.appliances[0].holdings == FileSet([1])
    assert snapshot.titles[0].title_id == "film"
    assert snapshot.control_id == "store-a"


def row_with(**changes):
    return replace(STATE, rows=(replace(ROW, **changes),))


@pytest.mark.parametrize(
    "changed",
    [
        replace(STATE, sites=(Site(site_id="s-1", prefixes=("192.0.2.0/24",)),)),
        replace(STATE, catalog=replace(STATE.catalog, titles=())),
        replace(STATE, catalog=replace(STATE.catalog, titles=(replace(TITLE, version=2),))),
        row_with(appliance=replace(ROW.appliance, content_url="http://other.example")),
        row_with(holdings=replace(ROW.holdings, digest="other")),
        replace(STATE, rows=()),
        replace(STATE, control_id="store-b"),
    ],
)
def test_the_tag_changes_with_the_content(changed):
    assert content_tag(changed, HEALTH, LOADS, ORIGIN) != content_tag(STATE, HEALTH, LOADS, ORIGIN)


def test_the_tag_changes_with_health_load_and_origin_and_with_nothing_else():
    tag = content_tag(STATE, HEALTH, LOADS, ORIGIN)
    assert content_tag(STATE, {"a-1": make_track(HealthState.LOST).health}, LOADS, ORIGIN) != tag
    assert content_tag(STATE, HEALTH, Loads(tx_bps={"a-1": 1.0}), ORIGIN) != tag
    assert content_tag(STATE, HEALTH, LOADS, "") != tag
    other = row_with(report=StoredReport(sequence=9), health_version=9, plan=SetHead(version=9))
    assert content_tag(replace(other, versions=replace(STATE.versions, fleet=9)), HEALTH, LOADS, ORIGIN) == tag


@pytest.mark.parametrize(
    ("tx_bps", "before_bps", "said_bps"),
    [(0, None, 0), (26, None, 50), (24, None, 0), (49, 0, 0), (50, 0, 50), (74, 50, 50), (1, 50, 50), (0, 50, 0)],
)
def test_load_moves_in_whole_steps(tx_bps, before_bps, said_bps):
    assert coarse_bps(tx_bps, before_bps, 1000, step_ratio=0.05) == said_bps


@given(st.lists(st.floats(0, 1e10), min_size=1, max_size=30))
def test_load_is_never_a_whole_step_off(loads):
    said = None
    for tx_bps in loads:
        said = coarse_bps(tx_bps, said, 10**10, step_ratio=0.05)
        assert abs(said - tx_bps) <= 0.05 * 10**10


@given(st.lists(st.sets(st.integers(1, 30), max_size=6), max_size=8), st.sets(st.integers(1, 40)))
def test_titles_are_held_whole_or_not_at_all(files_of_titles, held):
    titles = tuple(
        StoredTitle(
            title=make_title(f"t{no}"), version=1, published_at_s=1.0, size_bytes=2, file_nos=tuple(sorted(one))
        )
        for no, one in enumerate(files_of_titles)
    )
    state = replace(STATE, catalog=replace(STATE.catalog, titles=titles), holdings={"a-1": FileSet(held)})
    snapshot = SnapshotMaker().compile(state, HEALTH, LOADS, version=1, built_at_s=1.0, origin_url="")
    whole = [no for no, one in enumerate(files_of_titles, start=1) if one and one <= held]
    assert list(snapshot.appliances[0].holdings) == whole


def test_what_is_costly_is_made_once():
    maker = SnapshotMaker()
    one = maker.compile(STATE, HEALTH, LOADS, version=1, built_at_s=1.0, origin_url=ORIGIN)
    two = maker.compile(STATE, HEALTH, Loads(tx_bps={"a-1": 5.0}), version=2, built_at_s=2.0, origin_url=ORIGIN)
    assert one.routes is two.routes
    assert one.titles is two.titles
    heard = (make_hearing(["a-1"], "10.0.0.0/8 2"),)
    three = maker.compile(STATE, HEALTH, LOADS, version=3, built_at_s=3.0, origin_url=ORIGIN, hearings=heard)
    assert three.routes.coverage(bytes([10, 0, 0, 1])) == ((8, 2, 0, 1),)
    assert content_tag(STATE, HEALTH, LOADS, ORIGIN, hearings=heard) != content_tag(STATE, HEALTH, LOADS, ORIGIN)


@pytest.mark.parametrize(
    ("connections", "disk", "ratio"),
    [(0, 0.0, 0.5), (1000, 0.0, 0.9), (0, 0.8, 0.75), (1000, 0.6, 1.0), (1200, 0.8, 0.75)],
)
def test_cpu_connections_and_disks_make_an_appliance_busy(connections: int, disk: float, ratio: float):
    load = LoadReport(cpu_ratio=0.5, connections=900, disk_busy_ratio=0.6)
    row = replace(ROW, report=replace(ROW.report, report=ApplianceReport(load=load)))
    assert busy_ratio(row, most_connections=connections, most_disk_busy_ratio=disk) == pytest.approx(ratio)


def test_many_routes_are_compiled_beside_the_turns():
    compiler = RouteCompiler(most_inline=1)
    first, second = ((make_hearing(["a-1"], *(f"10.{no}.0.0/16 {hops}" for no in range(9))),) for hops in (2, 3))
    assert compiler.ready(STATE.sites, first) is first, "the first ones at once"
    table = compiler.table
    assert compiler.ready(STATE.sites, second) is first
    compiler._work.join(timeout=20)
    assert compiler.ready(STATE.sites, second) is second
    assert compiler.table is not table
    assert compiler.table.coverage(bytes([10, 0, 0, 1])) == ((16, 3, 0, 1),)
    moved = (replace(second[0], appliances=("a-2",)),)
    assert compiler.ready(STATE.sites, moved) is moved, "who hears them needs no compilation"
    other = (Site(site_id="s-2", prefixes=("192.0.2.0/24",)),)
    assert compiler.ready(other, second) is second, "other sites at once: sources are numbered by them"


def test_routes_that_were_compiled_for_other_sites_are_not_taken():
    compiler = RouteCompiler(most_inline=1)
    first, second = ((make_hearing(["a-1"], *(f"10.{no}.0.0/16 {hops}" for no in range(9))),) for hops in (2, 3))
    compiler.ready(STATE.sites, first)
    other = (Site(site_id="s-2", prefixes=("192.0.2.0/24",)), *STATE.sites)
    compiler.ready(other, second)
    compiler._compile(STATE.sites, second, RouteMemory())  # begun before the sites changed, done after
    compiler._work = threading.Thread()
    assert compiler.ready(other, second) is second
    assert compiler.table.coverage(bytes([10, 0, 0, 1]))[-1] == (16, 3, 0, len(other)), "after both sites"
