"""Explanations say the same as answers."""

import ipaddress
from dataclasses import replace

from headrace.fleet.model import AdminState
from headrace.steering.approach import approaches
from headrace.steering.compile import compile_snapshot
from headrace.steering.explain import explain
from headrace.steering.rank import Limits, choose
from headrace.steering.testing import make_appliance, make_site, make_snapshot, make_title, numbers_of

TITLE = make_title("film")


def test_every_appliance_with_rank_or_reason() -> None:
    fleet = [make_appliance(f"n{number}", "a", numbers_of([TITLE]), tx_bps=2e9) for number in range(4)]
    fleet[0] = replace(fleet[0], admin_state=AdminState.DRAINING)
    compiled = compile_snapshot(make_snapshot([make_site("a", "10.0.0.0/8")], fleet, [TITLE], version=7))
    address = ipaddress.ip_address("10.0.0.1").packed
    limits = Limits(pathways=2)
    film = compiled.library.titles["film"]
    found = explain(compiled, film, limits, client="10.0.0.1", location=None, now_s=compiled.built_at_s + 5)
    assert sorted(row.appliance_id for row in found.appliances) == ["n0", "n1", "n2", "n3"]
    answer = choose(
        compiled,
        approaches(compiled, compiled.class_no(address), None, distance_step_km=100.0),
        film,
        limits,
    )
    assert [row.appliance_id for row in found.appliances if row.rank] == [
        one.appliance.appliance_id for one in answer.chosen
    ]
    assert {row.reason for row in found.appliances} == {"chosen", "outranked", "draining"}
    assert {row.prefix_length for row in found.appliances} == {8}
    assert {row.load_ratio for row in found.appliances} == {0.2}
    assert (found.snapshot_version, found.snapshot_age_s) == (7, 5)
