"""Faults at the evening peak, in the model world on the production decisions: fixed seeds, stated limits.

No new session is without an appliance while an eligible one has room, nobody is over its capacity for longer than a
player's own way out takes to be corrected, nobody flaps.
"""

import pytest

from headrace.fleet.lifecycle import DrainState, LeaveReason
from headrace.sim.world import Plan, World
from headrace.steering.testing import make_title

TITLES = tuple(make_title(f"film-{number}") for number in range(50))
SETTLED_S = 10
"""Running sessions ask again within this."""
CONCLUDED_S = 14


def check(world: World) -> None:
    """What must hold whatever happens."""
    assert world.seen.unanswered == 0
    assert world.seen.answered > 0
    assert max(world.seen.falls.values(), default=0) <= 1, world.seen.falls


@pytest.mark.parametrize("seed", [0, 2])
def test_a_site_dies_at_the_peak_and_comes_back(seed: int) -> None:
    world = World(Plan(titles=TITLES), seed=seed)
    gone = world.at_site(0)
    world.kill(*gone)
    world.run(SETTLED_S)
    assert world.healthy() == set(world.names) - set(gone)
    # Players went to the next pathway of their lists by themselves, all at once; steering has not been asked yet.
    assert world.seen.most_use < 1.15
    settled = world.seen.over_s
    assert settled < SETTLED_S
    world.run(50)
    assert world.seen.over_s == settled
    assert world.seen.stranded == 0
    assert set(world.seen.falls) == set(gone)
    world.start(*gone)
    world.run(60)
    assert world.healthy() == set(world.names)
    assert world.seen.over_s == settled
    assert world.seen.most_moves <= 4  # away, back, and twice for sessions that a full appliance sent on
    check(world)


def test_a_third_of_the_fleet_drains_and_not_more_than_the_budget() -> None:
    world = World(Plan(titles=TITLES, session_s=60.0, peak_ratio=0.45), seed=5)
    assert world.drain(*world.at_site(0)).reason is LeaveReason.SITE_OVER_BUDGET
    leaving = [world.at_site(site)[0] for site in range(5)] + [world.at_site(0)[1], world.at_site(1)[1]]
    assert world.drain(*leaving).may_leave
    assert world.drain(*(world.at_site(site)[1] for site in (2, 3, 4)), world.at_site(2)[2]).reason in (
        LeaveReason.SITE_OVER_BUDGET,
        LeaveReason.OVER_BUDGET,
    )
    world.run(110)
    assert {world.drain_of(name).state for name in leaving} == {DrainState.DRAINED}
    assert [world.sessions_on(name) for name in leaving] == [0] * len(leaving)
    assert (world.seen.over_s, world.seen.stranded, world.seen.falls) == (0, 0, {})
    world.enable(*leaving)
    world.run(30)
    assert all(world.sessions_on(name) for name in leaving)
    check(world)


@pytest.mark.parametrize("cut_off", [(0,), (2,), (0, 1)])
def test_control_nodes_are_cut_off_and_clients_do_not_notice(cut_off: tuple[int, ...]) -> None:
    world = World(Plan(titles=TITLES), seed=7)
    world.cut_off(*cut_off)
    world.run(60)
    assert world.healthy() == set(world.names)
    assert (world.seen.falls, world.seen.over_s, world.seen.stranded) == ({}, 0, 0)
    assert not world.is_held
    died = world.names[0]
    world.kill(died)
    world.run(CONCLUDED_S)
    assert world.healthy() == set(world.names) - {died}
    world.cut_off()
    world.run(20)
    assert world.healthy() == set(world.names) - {died}
    check(world)


def test_routes_move_between_sites() -> None:
    """The clients of two sites prefer the four appliances of one: it takes what it can and sends the others on.

    Running sessions ask again within ten seconds, between two reports of load: those that are sent elsewhere are in
    the ledger like new ones, or the site would be overrun until the next report.
    """
    world = World(Plan(titles=TITLES), seed=13)
    before = sum(world.sessions_on(name) for name in world.at_site(1))
    world.move_routes(0, 1)
    world.run(60)
    assert sum(world.sessions_on(name) for name in world.at_site(1)) > before
    assert (world.seen.most_use <= 1.0, world.seen.over_s) == (True, 0)
    assert (world.seen.stranded, world.seen.falls) == (0, {})
    assert world.seen.most_moves <= 3
    check(world)


def test_everything_restarts_at_once() -> None:
    world = World(Plan(titles=TITLES), seed=11)
    world.kill(*world.names)
    world.restart_everything()
    world.run(20)
    assert world.healthy() == set(world.names)  # as stored: nothing that was not heard in a restart proves anything
    assert world.is_held
    world.start(*world.names)
    stranded = world.seen.stranded
    world.run(SETTLED_S)
    assert world.seen.stranded == stranded  # every session went on in the second in which its appliance was back
    world.run(30)
    assert world.healthy() == set(world.names)
    assert not world.is_held
    assert (world.seen.falls, world.seen.over_s) == ({}, 0)
    check(world)


def test_the_same_seed_takes_the_same_way() -> None:
    plan = Plan(titles=TITLES[:3], sites=2, per_site=2)
    one, other = World(plan, seed=3), World(plan, seed=3)
    for world in (one, other):
        world.kill(world.names[0])
        world.run(20)
    assert one.seen == other.seen
    assert [one.sessions_on(name) for name in one.names] == [other.sessions_on(name) for name in other.names]
