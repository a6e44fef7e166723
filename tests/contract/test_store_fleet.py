"""What the store keeps of appliances, on SQLite and on PostgreSQL: settings, reports, health, holdings, plans."""

from dataclasses import replace

from headrace.base.ids import ApplianceId, SiteId
from headrace.catalog.fileset import FileSet
from headrace.control.model import (
    HealthChange,
    Removal,
    StoredReport,
)
from headrace.control.ports import PLANS_KEPT, Store
from headrace.control.testing import (
    A_REASON,
    make_appliance,
    make_set,
    make_site,
)
from headrace.control.testing_store import A1, NOTED, NOW_S, SITE, at_once, credential, enrolled
from headrace.fleet.model import (
    AdminState,
    ApplianceReport,
    Health,
    HealthReason,
    HealthState,
    LoadReport,
)
from headrace.wire.agent import DesiredState


class TestFleet:
    def test_sites_are_put_and_removed(self, store: Store) -> None:
        assert store.put_site(make_site(), **NOTED)
        assert not store.put_site(make_site(name="Delft", latitude_deg=52.0), **NOTED)
        assert store.sites() == (make_site(name="Delft", latitude_deg=52.0),)
        assert store.remove_site(SiteId("none"), **NOTED) is Removal.MISSING
        assert store.remove_site(SITE, **NOTED) is Removal.DONE
        assert store.sites() == ()
        assert store.versions().fleet == 3

    def test_a_site_with_appliances_stays(self, store: Store) -> None:
        enrolled(store)
        assert store.remove_site(SITE, **NOTED) is Removal.IN_USE
        assert len(store.sites()) == 1

    def test_a_new_appliance_has_nothing_yet(self, store: Store) -> None:
        enrolled(store)
        row = store.appliance(A1)
        assert row is not None
        assert row.appliance == make_appliance()
        assert (row.health, row.desired, row.report) == (Health(), None, StoredReport())
        assert row.holdings.digest == row.plan.digest == FileSet().digest()
        assert store.fleet() == (row,)
        assert store.appliance(ApplianceId("none")) is None

    def test_settings_change_by_compare_and_set(self, store: Store) -> None:
        enrolled(store)
        draining = make_appliance(admin_state=AdminState.DRAINING)
        assert store.change_appliance(draining, expected_version=1, **NOTED) == 2
        assert store.change_appliance(make_appliance(), expected_version=1, **NOTED) is None
        assert store.change_appliance(make_appliance("none"), expected_version=1, **NOTED) is None
        elsewhere = make_appliance(site_id="nowhere")
        assert store.change_appliance(elsewhere, expected_version=2, **NOTED) is None
        row = store.appliance(A1)
        assert row is not None
        assert row.appliance == draining

    def test_removal_takes_everything_with_it(self, store: Store) -> None:
        enrolled(store)
        store.save_plan(A1, make_set(range(1, 5)), expected_version=0, **NOTED)
        assert store.remove_appliance(A1, **NOTED)
        assert not store.remove_appliance(A1, **NOTED)
        assert (store.fleet(), store.holdings(A1), store.plan(A1)) == ((), None, None)
        assert store.appliance_token(A1) is None
        assert store.token("cred-a1") == replace(credential("cred-a1"), is_revoked=True)

    def test_reports_are_ordered_by_compare_and_set(self, store: Store) -> None:
        enrolled(store)
        first = StoredReport(
            boot_id="b1",
            sequence=5,
            past_boots=("b0",),
            received_at_s=NOW_S,
            heard_at_s=NOW_S,
            report=ApplianceReport(load=LoadReport(tx_bps=1e9, sessions=3)),
        )
        assert store.save_report(A1, first, expected_boot_id="", expected_sequence=0)
        assert not store.save_report(A1, first, expected_boot_id="", expected_sequence=0)
        store.note_message(A1, now_s=NOW_S + 9)
        row = store.appliance(A1)
        assert row is not None
        assert row.report == replace(first, heard_at_s=NOW_S + 9)

    def test_desired_state_and_health_by_compare_and_set(self, store: Store) -> None:
        enrolled(store)
        desired = DesiredState(
            version=1,
            admin_state=AdminState.ENABLED,
            origin_url="http://o",
            redirect_url="http://s",
            sources=(),
            fill_rate_bps=0,
        )
        assert store.save_desired(A1, desired, expected_version=0)
        assert not store.save_desired(A1, desired, expected_version=0)
        health = Health(
            state=HealthState.HEALTHY, reason=HealthReason.ALL_CHECKS_PASS, since_s=NOW_S, is_turned_up=True
        )
        before = store.versions()
        assert store.save_health(A1, health, expected_version=0, memory="m", **NOTED)
        assert not store.save_health(A1, Health(), expected_version=0, **NOTED)
        row = store.appliance(A1)
        assert row is not None
        assert (row.desired, row.health, row.health_version, row.health_memory) == (desired, health, 1, "m")
        assert store.versions() == replace(before, fleet=before.fleet + 1, events=before.events + 1)

    def test_many_conclusions_are_written_at_once_each_by_compare_and_set(self, store: Store) -> None:
        enrolled(store)
        enrolled(store, "a2")
        event = NOTED["event"]
        before = store.versions()
        lost = Health(state=HealthState.LOST)
        changes = [
            HealthChange(appliance_id=ApplianceId(name), health=lost, expected_version=at, memory="m", event=event)
            for name, at in (("a1", 0), ("a2", 7), ("gone", 0))
        ]
        assert store.save_health_all(changes, now_s=NOW_S) == {"a1"}
        assert [row.health_version for row in store.fleet()] == [1, 0]
        assert store.versions() == replace(before, fleet=before.fleet + 1, events=before.events + 1)
        assert store.save_health_all(changes, now_s=NOW_S) == frozenset()
        assert store.versions().fleet == before.fleet + 1

    def test_many_desired_states_are_written_at_once(self, store: Store) -> None:
        enrolled(store)
        desired = DesiredState(
            version=1, admin_state=AdminState.ENABLED, origin_url="", redirect_url="", sources=(), fill_rate_bps=0
        )
        new = {ApplianceId("a1"): desired, ApplianceId("gone"): desired}
        assert store.save_desired_all(new) == {"a1"}
        assert store.save_desired_all(new) == frozenset()
        assert [row.desired for row in store.fleet()] == [desired]

    def test_many_conclusions_and_desired_states_at_once(self, store: Store) -> None:
        for name in ("a1", "a2", "a3"):
            enrolled(store, name)
        store.save_health(A1, Health(), expected_version=0, **NOTED)
        before = store.versions()
        sick = Health(state=HealthState.UNHEALTHY, reason=HealthReason.NGINX_DOWN, since_s=NOW_S)
        changes = [
            HealthChange(appliance_id=ApplianceId(name), health=sick, expected_version=0, memory="m", event=A_REASON)
            for name in ("a1", "a2", "a3", "gone")
        ]
        assert store.save_health_all(changes, now_s=NOW_S) == {"a2", "a3"}
        assert store.save_health_all(changes, now_s=NOW_S) == frozenset()
        assert [row.health for row in store.fleet()] == [Health(), sick, sick]
        assert store.versions() == replace(before, fleet=before.fleet + 1, events=before.events + 2)
        assert [one.event_id for one in store.events(limit=1000)] == list(range(1, before.events + 3))
        desired = DesiredState(
            version=1,
            admin_state=AdminState.ENABLED,
            origin_url="http://o",
            redirect_url="",
            sources=(),
            fill_rate_bps=0,
        )
        new = {ApplianceId(name): desired for name in ("a1", "a2", "gone")}
        assert store.save_desired_all(new) == {"a1", "a2"}
        assert store.save_desired_all(new) == frozenset()

    def test_held_health_is_said_once(self, store: Store) -> None:
        assert not store.is_health_held()
        assert store.set_health_held(True, **NOTED)
        assert not store.set_health_held(True, **NOTED)
        assert store.is_health_held()
        assert store.versions().events == 1

    def test_many_plans_are_written_at_once_each_by_compare_and_set(self, store: Store) -> None:
        enrolled(store)
        enrolled(store, "a2")
        plan = make_set((1, 2, 3))
        before = store.versions()
        versions = {ApplianceId("a1"): 0, ApplianceId("a2"): 5, ApplianceId("gone"): 0}
        assert store.save_plan_all(dict.fromkeys(versions, plan), expected_versions=versions, now_s=NOW_S) == {"a1"}
        assert [row.plan.version for row in store.fleet()] == [1, 0]
        found = store.plan(A1)
        assert found is not None
        assert found.files == plan.files
        assert store.versions() == replace(before, plans=before.plans + 1)


class TestHoldings:
    def test_holdings_by_compare_and_set_on_the_digest(self, store: Store) -> None:
        enrolled(store)
        new = make_set(range(1, 100_001), total_bytes=7 * 10**12)
        empty = FileSet().digest()
        assert store.save_holdings(A1, new, expected_digest=empty)
        assert not store.save_holdings(A1, make_set((1,)), expected_digest=empty)
        kept = store.holdings(A1)
        assert kept is not None
        assert kept.files == new.files
        assert kept.head == replace(new.head, version=1)
        assert store.holdings_digests() == {A1: new.head.digest}
        assert store.versions().holdings == 1

    def test_the_last_plans_are_kept(self, store: Store) -> None:
        enrolled(store)
        count = PLANS_KEPT + 3
        for version in range(count):
            assert store.save_plan(A1, make_set(range(1, version + 2)), expected_version=version, **NOTED)
        assert store.save_plan(A1, make_set((1,)), expected_version=3, **NOTED) is None
        assert store.save_plan(ApplianceId("none"), make_set((1,)), expected_version=0, **NOTED) is None
        newest = store.plan(A1)
        assert newest is not None
        assert (newest.head.version, newest.head.count) == (count, count)
        assert store.plan(A1, 3) is None
        oldest = store.plan(A1, 4)
        assert oldest is not None
        assert oldest.files == FileSet(range(1, 5))
        row = store.appliance(A1)
        assert row is not None
        assert row.plan == newest.head

    def test_many_plans_at_once(self, store: Store) -> None:
        for name in ("a1", "a2"):
            enrolled(store, name)
        store.save_plan(A1, make_set((1,)), expected_version=0, **NOTED)
        new = {ApplianceId(name): make_set((1, 2)) for name in ("a1", "a2", "gone")}
        expected = dict.fromkeys(new, 0)
        assert store.save_plan_all(new, expected_versions=expected, now_s=NOW_S) == {"a2"}
        assert [row.plan.version for row in store.fleet()] == [1, 1]
        assert [row.plan.count for row in store.fleet()] == [1, 2]
        assert store.versions().plans == 2

    def test_two_planners_never_write_one_version_twice(self, store: Store, other: Store) -> None:
        enrolled(store)
        works = [
            lambda s=s: s.save_plan(A1, make_set((1,)), expected_version=0, **NOTED)
            for s in (store, other, store, other)
        ]
        assert sorted(at_once(works), key=str) == [1, None, None, None]
