"""What the control plane makes of routes, on a real store: hearings, grace, damping, payloads, several nodes."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from headrace.base.clock import ManualClock
from headrace.base.ids import ApplianceId
from headrace.control.adapters.database import Database
from headrace.control.adapters.route_tables import route_chunks
from headrace.control.adapters.store import SqlStore, open_store
from headrace.control.adapters.vrp_file import VrpFile
from headrace.control.loops.route_metrics import filtered_counts, metric_lines
from headrace.control.loops.routing import SWEEP_S, Routing
from headrace.control.loops.testing import EVENT, enrol
from headrace.control.routes import RouteSettings, take_message
from headrace.routes.damping import DampingRules
from headrace.routes.effective import ChunkPlace
from headrace.routes.hygiene import FilterReason, HygieneRules
from headrace.routes.model import Heard, Prefix, SessionState, parse_prefix
from headrace.routes.retention import Standing
from headrace.routes.rpki import RpkiRules, VrpState
from headrace.routes.testing_tables import heard, make_routes, make_session, pack_old_table, pack_table
from headrace.wire.routes import RoutesRequest, SessionTable

NAMES = [f"10.{n}.0.0/16" for n in range(30)]
LAB = HygieneRules(takes_bogons=True)
SETTINGS = RouteSettings(hygiene=LAB)


class Fleet:
    """A store, a node's routing, and appliances that speak as agents do."""

    def __init__(self, folder: Path, settings: RouteSettings = SETTINGS, vrps: Path | None = None) -> None:
        self.clock = ManualClock()
        self.settings = settings
        self.store: SqlStore = open_store(f"sqlite:///{folder}/store.db")
        self.vrps = vrps
        self.routing = self.node()
        self._sequence = 0

    def node(self) -> Routing:
        rules = self.settings.rpki
        return Routing(self.store, self.settings, self.clock, VrpFile(self.vrps, rules))

    def tell(self, name: str, routes: dict[Prefix, Heard], *, is_old: bool = False, **session: Any) -> None:
        """One message about one session, with all that goes before it; `is_old`: in chunks of an earlier release."""
        self._sequence += 1
        appliance, now_s = ApplianceId(name), self.clock.now_s()
        digest = ""
        if routes:
            digest, places, chunks = pack_old_table(routes) if is_old else pack_table(routes)
            missing = self.store.put_list(digest, places, by=appliance, now_s=now_s) or ()
            counts = {one: (chunks[one], 1) for one in missing}
            self.store.put_chunks(counts, by=appliance, now_s=now_s)
        before = self.store.speaker(appliance)
        assert before is not None
        told = SessionTable(session=make_session(**session), table_digest=digest)
        asked = RoutesRequest(appliance_id=appliance, boot_id="b", sequence=self._sequence, sessions=(told,))
        taken = take_message(before, asked, self.store.whole_lists([digest]), self.settings, now_s=now_s)
        assert self.store.save_speaker(
            taken,
            expected_boot_id=before.boot_id,
            expected_sequence=before.sequence,
            history_step_s=1,
            now_s=now_s,
        )

    def heard(self, node: Routing | None = None) -> dict[str, int]:
        """How many prefixes each appliance hears that count."""
        routing = node or self.routing
        routing.look_at_payloads()
        routing.turn()
        hearings = routing.current_hearings()
        return {name: len(one.routes.path_lengths_v4) for one in hearings for name in one.appliances}

    def standing(self, name: str) -> Standing:
        return self.routing.view().appliances[ApplianceId(name)].sessions[0].counting.standing


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(tmp_path)
    for name in ("a1", "a2", "b1"):
        enrol(made.store, name, "http://192.0.2.10", site=f"site-{name[0]}")
    yield made
    made.store.close()


def test_equal_routes_are_one_hearing_and_unequal_ones_are_not(fleet: Fleet) -> None:
    fleet.tell("a1", make_routes(NAMES, 1, 2))
    fleet.tell("a2", make_routes(NAMES, 1, 3, learned_s=5.0))
    fleet.tell("b1", make_routes(NAMES, 1, 2, 3))
    assert fleet.heard() == {"a1": 30, "a2": 30, "b1": 30}
    assert [one.appliances for one in fleet.routing.current_hearings()] == [("a1", "a2"), ("b1",)]
    same = fleet.routing.current_hearings()
    fleet.tell("a2", make_routes(NAMES, 1, 4, learned_s=9.0))
    fleet.routing.turn()
    assert fleet.routing.current_hearings() is same  # steering sees no difference, and compiles nothing


def test_a_change_reads_only_the_chunk_that_changed(fleet: Fleet) -> None:
    routes = make_routes(NAMES)
    fleet.tell("a1", routes)
    fleet.heard()
    before = dict(fleet.routing.counts.changes)
    with fleet.store._database.writing() as connection:
        connection.execute(route_chunks.delete())
    fleet.tell("a1", {**routes, parse_prefix(NAMES[0]): heard(1, 2, 3)})
    with fleet.store._database.writing() as connection:
        digest = pack_table({parse_prefix(NAMES[0]): heard(1, 2, 3)})[1][0].digest
        connection.execute(route_chunks.delete().where(route_chunks.c.digest != digest))
    assert fleet.heard() == {"a1": 30}
    assert fleet.routing.counts.failed_tables == 0
    assert fleet.routing.counts.changes["changed"] == before["changed"] + 1
    assert max(fleet.routing.current_hearings()[0].routes.path_lengths_v4) == 3


def test_a_table_that_cannot_be_read_leaves_the_one_before_and_is_tried_again(fleet: Fleet) -> None:
    fleet.tell("a1", make_routes(NAMES))
    fleet.heard()
    more = {**make_routes(NAMES), **make_routes(["172.16.0.0/16"])}
    fleet.tell("a1", more)
    digest, places, chunks = pack_table(more)
    new = pack_table(make_routes(["172.16.0.0/16"]))[1][0].digest
    with fleet.store._database.writing() as connection:
        connection.execute(route_chunks.delete().where(route_chunks.c.digest == new))
    assert fleet.heard() == {"a1": 30}
    assert fleet.routing.counts.failed_tables == 1
    assert fleet.store.put_list(digest, places, by=ApplianceId("a1"), now_s=0) == (new,)
    fleet.store.put_chunks({new: (chunks[new], 1)}, by=ApplianceId("a1"), now_s=0)
    fleet.clock.advance(6)
    assert fleet.heard() == {"a1": 31}


def test_tables_of_an_earlier_release_count_and_newer_ones_take_their_place_unnoticed(fleet: Fleet) -> None:
    routes = make_routes(NAMES, 1, 2)
    fleet.tell("a1", routes, is_old=True)
    fleet.tell("a2", routes)
    assert fleet.heard() == {"a1": 30, "a2": 30}
    (before,) = fleet.routing.current_hearings()
    fleet.clock.advance(100)
    fleet.tell("a1", routes)
    assert fleet.heard() == {"a1": 30, "a2": 30}
    assert fleet.routing.current_hearings() == (before,)
    assert (fleet.routing.counts.changes["changed"], fleet.routing.counts.failed_tables) == (0, 0)
    one, other = (fleet.routing.view().appliances[ApplianceId(name)].sessions[0] for name in ("a1", "a2"))
    assert one.counted.table is other.counted.table, "judged once"


def test_a_dropped_session_keeps_its_routes_for_a_while(fleet: Fleet) -> None:
    fleet.tell("a1", make_routes(NAMES))
    assert fleet.heard() == {"a1": 30}
    fleet.clock.advance(1000)
    fleet.tell("a1", {}, state=SessionState.DOWN, detail="hold timer expired")
    assert fleet.heard() == {"a1": 30}
    assert fleet.standing("a1") is Standing.HELD
    fleet.clock.advance(119)
    assert fleet.heard() == {"a1": 30}
    fleet.clock.advance(2)
    assert fleet.heard() == {}
    assert fleet.standing("a1") is Standing.WITHDRAWN
    lost = [one for one in fleet.store.events() if one.kind == "route-session.changed"]
    assert [(one.reason, "hold timer" in one.detail) for one in lost] == [("down", True)]


def test_a_relearning_session_never_shows_an_empty_table(fleet: Fleet) -> None:
    fleet.tell("a1", make_routes(NAMES))
    fleet.clock.advance(1000)
    fleet.tell("a1", {}, state=SessionState.DOWN)
    fleet.clock.advance(5)
    for count in (0, 10, 30):
        fleet.tell("a1", make_routes(NAMES[:count]))
        assert fleet.heard() == {"a1": 30}
        fleet.clock.advance(1)
    fleet.clock.advance(60)
    fleet.tell("a1", make_routes(NAMES[:10]))
    assert fleet.heard() == {"a1": 10}


def test_silence_and_a_restart_of_control_change_nothing(fleet: Fleet) -> None:
    fleet.tell("a1", make_routes(NAMES))
    assert fleet.heard() == {"a1": 30}
    fleet.clock.advance(1e6)
    assert fleet.heard() == {"a1": 30}
    fresh = fleet.node()
    assert [one.appliances for one in fresh.current_hearings()] == [("a1",)]  # never empty, not even once
    fleet.store.remove_appliance(ApplianceId("a1"), event=EVENT, now_s=fleet.clock.now_s())
    fleet.clock.advance(11)
    assert fleet.heard() == {}


def test_a_flapping_prefix_is_left_out_until_it_is_quiet(fleet: Fleet) -> None:
    routes = make_routes(NAMES)
    rest = {prefix: one for prefix, one in routes.items() if prefix != parse_prefix(NAMES[3])}
    fleet.tell("a1", routes)
    fleet.heard()
    fleet.clock.advance(100)
    for _ in range(7):
        for table in (rest, routes):
            fleet.tell("a1", table)
            fleet.heard()
            fleet.clock.advance(1)
    assert fleet.heard() == {"a1": 29}
    assert filtered_counts(fleet.routing.view())[FilterReason.DAMPED] == 1
    fleet.clock.advance(3600)
    assert fleet.heard() == {"a1": 30}


def test_a_flapping_session_is_left_out_as_a_whole(fleet: Fleet) -> None:
    fleet.tell("a1", make_routes(NAMES))
    fleet.heard()
    fleet.tell("a1", make_routes(NAMES), drops=8)
    assert fleet.heard() == {}
    assert filtered_counts(fleet.routing.view())[FilterReason.SESSION_DAMPED] == 30
    fleet.clock.advance(3700)
    assert fleet.heard() == {"a1": 30}
    fleet.tell("a1", make_routes(NAMES), drops=0)  # the agent started anew
    assert fleet.heard() == {"a1": 30}


def test_a_node_that_starts_goes_on_with_the_points_that_the_one_before_saved(fleet: Fleet) -> None:
    routes = make_routes(NAMES)
    rest = {prefix: one for prefix, one in routes.items() if prefix != parse_prefix(NAMES[3])}
    fleet.tell("a1", routes)
    fleet.tell("b1", routes)
    fleet.heard()
    fleet.clock.advance(100)
    for _ in range(7):
        for table in (rest, routes):
            fleet.tell("a1", table)
            fleet.heard()
    fleet.tell("b1", routes, drops=8)
    assert fleet.heard() == {"a1": 29}
    assert fleet.heard(fleet.node()) == {"a1": 30, "b1": 30}, "nothing is saved yet"
    fleet.clock.advance(SWEEP_S)
    fleet.routing.sweep(now_s=fleet.clock.now_s())
    next_one = fleet.node()
    assert fleet.heard(next_one) == {"a1": 29}
    assert filtered_counts(next_one.view())[FilterReason.DAMPED] == 1
    fleet.clock.advance(7300)
    assert fleet.heard(next_one) == {"a1": 30, "b1": 30}
    next_one.sweep(now_s=fleet.clock.now_s())
    assert fleet.store.flaps() == {}


def test_payloads_are_read_again_when_the_file_changes(tmp_path: Path) -> None:
    file = tmp_path / "vrps.json"
    rules = RpkiRules(file=str(file), old_after_s=1000, unused_after_s=5000)
    fleet = Fleet(tmp_path, RouteSettings(rpki=rules, damping=DampingRules(is_on=False)), vrps=file)
    enrol(fleet.store, "a1", "http://192.0.2.10")
    fleet.tell("a1", make_routes(["193.0.0.0/24", "194.0.0.0/24"], 64496))

    def write(*roas: tuple[str, int], junk: str = "") -> None:
        made = {"metadata": {"generated": int(fleet.clock.now_s())}}
        entries = [{"prefix": prefix, "asn": asn, "maxLength": 24} for prefix, asn in roas]
        fresh = tmp_path / "new"
        fresh.write_text(junk or json.dumps({**made, "roas": entries}))
        os.replace(fresh, file)

    def state() -> VrpState:
        return fleet.routing.view().vrps.state

    assert (fleet.heard(), state()) == ({"a1": 2}, VrpState.MISSING)
    write(("193.0.0.0/16", 64497))
    assert (fleet.heard(), state()) == ({"a1": 1}, VrpState.GOOD)
    assert filtered_counts(fleet.routing.view())[FilterReason.RPKI_INVALID] == 1
    write(junk="{broken")
    assert (fleet.heard(), state()) == ({"a1": 1}, VrpState.BROKEN)
    assert "not JSON" in fleet.routing.view().vrps.error
    write(("193.0.0.0/16", 64496))
    assert (fleet.heard(), state()) == ({"a1": 2}, VrpState.GOOD)
    write(("193.0.0.0/16", 64497))
    assert fleet.heard() == {"a1": 1}
    fleet.clock.advance(1500)
    assert (fleet.heard(), state()) == ({"a1": 1}, VrpState.OLD)
    fleet.clock.advance(5000)
    assert (fleet.heard(), state()) == ({"a1": 2}, VrpState.EXPIRED)
    file.unlink()
    write(("193.0.0.0/16", 64497))
    assert (fleet.heard(), state()) == ({"a1": 1}, VrpState.GOOD)
    lines = list(metric_lines(fleet.routing))
    assert 'headrace_control_routes_filtered{reason="rpki-invalid"} 1' in lines
    assert 'headrace_control_route_sessions{state="established",standing="established"} 1' in lines
    assert 'headrace_control_rpki_data{state="good"} 1' in lines
    fleet.store.close()


def test_a_node_that_starts_reads_many_tables_at_once_and_one_that_runs_what_changed(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    asked: list[int] = []

    class Counting(SqlStore):
        def route_lists(self, digests: Sequence[str]) -> Mapping[str, tuple[ChunkPlace, ...]]:
            asked.append(len(digests))
            return super().route_lists(digests)

    for number in range(30):
        enrol(fleet.store, f"a{number}", "http://192.0.2.10")
        fleet.tell(f"a{number}", make_routes(NAMES[: 1 + number], 1, 2))
    fleet.store.close()
    fleet.store = Counting(Database(f"sqlite:///{tmp_path}/store.db"))
    node = fleet.node()
    assert fleet.heard(node) == {f"a{number}": 1 + number for number in range(30)}
    assert asked == [30]
    fleet.tell("a7", make_routes(NAMES, 1, 2, 3))
    assert fleet.heard(node)["a7"] == 30
    assert asked == [30, 1]
    fleet.store.close()


def test_two_nodes_see_the_same(fleet: Fleet) -> None:
    other = fleet.node()
    fleet.tell("a1", make_routes(NAMES))
    assert fleet.heard() == fleet.heard(other) == {"a1": 30}
    fleet.tell("b1", make_routes(NAMES[:4]))
    assert fleet.heard(other) == fleet.heard() == {"a1": 30, "b1": 4}
