"""The store port on SQLite and on PostgreSQL: the same promises on both."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from headrace.base.errors import HeadraceError
from headrace.base.ids import ApplianceId, FileNo, SiteId, TitleId
from headrace.catalog.fileset import FileSet
from headrace.catalog.model import CatalogError
from headrace.control.adapters.database import Database
from headrace.control.adapters.migrate import migrate, schema_config
from headrace.control.adapters.store import SqlStore, open_store
from headrace.control.adapters.tables import metadata
from headrace.control.errors import StoreError
from headrace.control.model import (
    Enrolment,
    HealthChange,
    JoinRow,
    Removal,
    StoredReport,
    StoredSnapshot,
    StoredTitle,
    TitleConflict,
    TokenKind,
    TokenRow,
)
from headrace.control.ports import PLANS_KEPT, Store
from headrace.control.testing import (
    A_REASON,
    make_appliance,
    make_set,
    make_site,
    make_title,
)
from headrace.fleet.model import (
    AdminState,
    ApplianceReport,
    Health,
    HealthReason,
    HealthState,
    LoadReport,
)
from headrace.wire.agent import DesiredState
from headrace.wire.operator import Role

NOW_S = 1_800_000_000.0
A1 = ApplianceId("a1")
SITE = SiteId("site-a")
FILM = TitleId("film")
NOTED = {"event": A_REASON, "now_s": NOW_S}


def credential(token_id: str = "c1", appliance_id: str = "a1", **fields: Any) -> TokenRow:
    base: dict[str, Any] = {
        "token_id": token_id,
        "kind": TokenKind.APPLIANCE,
        "name": appliance_id,
        "secret_sha256": "ab" * 32,
        "created_at_s": NOW_S,
        "appliance_id": ApplianceId(appliance_id),
    }
    return TokenRow(**{**base, **fields})


def join_row(join_id: str = "j1", **fields: Any) -> JoinRow:
    base: dict[str, Any] = {
        "join_id": join_id,
        "secret_sha256": "cd" * 32,
        "site_id": SITE,
        "appliance_id": None,
        "expires_at_s": NOW_S + 60,
    }
    return JoinRow(**{**base, **fields})


def enrolled(store: Store, appliance_id: str = "a1") -> None:
    store.put_site(make_site(), **NOTED)
    store.add_join_token(join_row(f"join-{appliance_id}"), **NOTED)
    outcome = store.enrol(
        f"join-{appliance_id}",
        make_appliance(appliance_id),
        credential(f"cred-{appliance_id}", appliance_id),
        **NOTED,
    )
    assert outcome is Enrolment.DONE


def at_once(works: list[Callable[[], Any]]) -> list[Any]:
    """Run all in threads that start together."""
    barrier = threading.Barrier(len(works))
    results: list[Any] = [None] * len(works)

    def run(index: int) -> None:
        barrier.wait(10)
        try:
            results[index] = works[index]()
        except HeadraceError as error:
            results[index] = error

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results


class TestSchema:
    def test_migrations_give_the_tables_of_the_code(self, url: str, store: SqlStore) -> None:
        database = Database(url)
        with database.reading() as connection:
            found = compare_metadata(MigrationContext.configure(connection), metadata)
        assert found == []
        before, newest = migrate(database)
        assert before == newest
        database.close()

    def test_many_nodes_that_start_at_once_migrate_once(self, url: str) -> None:
        opened = at_once([lambda: open_store(url)] * 4)
        assert [type(one) for one in opened] == [SqlStore] * 4
        assert opened[0].versions().events == 0
        for one in opened:
            one.close()

    def test_a_store_has_a_name_of_its_own(self, url: str, store: SqlStore, other: SqlStore, tmp_path: Path) -> None:
        assert len(store.control_id()) == 32
        assert other.control_id() == store.control_id()
        rebuilt = open_store(f"sqlite:///{tmp_path}/rebuilt.db")
        assert rebuilt.control_id() != store.control_id()
        rebuilt.close()

    def test_a_newer_database_is_refused(self, url: str, store: SqlStore) -> None:
        database = Database(url)
        with database.writing() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        with pytest.raises(StoreError, match="9999"):
            migrate(database)
        database.close()

    @pytest.mark.parametrize("bad", ["mysql://x/y", "nonsense", "sqlite://", "sqlite:////proc/nowhere/x.db"])
    def test_a_bad_url_is_named(self, bad: str) -> None:
        with pytest.raises(StoreError, match=r"store\.url|cannot open"):
            open_store(bad)

    def test_a_dead_database_is_a_store_error(self) -> None:
        with pytest.raises(StoreError, match="could not be asked"):
            open_store("postgresql+psycopg://postgres@127.0.0.1:1/x")


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


class TestCatalog:
    def test_a_title_is_registered_whole(self, store: Store) -> None:
        title = make_title(renditions=2)
        got = store.register_title(title, expected_version=0, **NOTED)
        assert got == StoredTitle(title=title, version=1, published_at_s=NOW_S, size_bytes=4002, file_nos=(1, 2, 3, 4))
        assert store.title(FILM) == got
        assert store.titles() == (got,)
        found = store.files([FileNo(4), FileNo(1), FileNo(99)])
        assert [(one.file_no, one.sha256, one.title_id) for one in found] == [
            (1, title.files[0].sha256, FILM),
            (4, title.files[3].sha256, FILM),
        ]
        assert len(store.catalog_files()) == 4
        totals = store.catalog_totals()
        assert (totals.title_count, totals.file_count, totals.total_bytes) == (1, 4, 4002)

    def test_the_wrong_version_loses(self, store: Store) -> None:
        title = make_title()
        assert isinstance(store.register_title(title, expected_version=0, **NOTED), StoredTitle)
        lost = store.register_title(title, expected_version=0, **NOTED)
        assert lost == TitleConflict(title_id=FILM, current_version=1)
        lost = store.register_title(make_title("new"), expected_version=3, **NOTED)
        assert lost == TitleConflict(title_id=TitleId("new"), current_version=0)
        assert store.versions().events == 1

    def test_numbers_are_kept_for_ever_and_never_reused(self, store: Store) -> None:
        store.register_title(make_title(), expected_version=0, **NOTED)
        assert store.withdraw_title(FILM, **NOTED)
        assert not store.withdraw_title(FILM, **NOTED)
        assert (store.title(FILM), store.titles(), store.catalog_files()) == (None, (), ())
        assert store.files([FileNo(1)]) == ()
        other = store.register_title(make_title("other"), expected_version=0, **NOTED)
        again = store.register_title(make_title(), expected_version=0, **NOTED)
        assert isinstance(other, StoredTitle)
        assert isinstance(again, StoredTitle)
        assert (other.file_nos, again.file_nos, again.version) == ((3, 4), (1, 2), 2)

    def test_what_is_published(self, store: Store) -> None:
        store.register_title(make_title(), expected_version=0, **NOTED)
        store.register_title(make_title("other"), expected_version=0, **NOTED)
        store.withdraw_title(FILM, **NOTED)
        assert store.published() == FileSet((3, 4))

    def test_a_replacement_drops_the_old_files(self, store: Store) -> None:
        store.register_title(make_title(), expected_version=0, **NOTED)
        new = store.register_title(make_title(salt=1), expected_version=1, **NOTED)
        assert isinstance(new, StoredTitle)
        assert (new.version, new.file_nos) == (2, (3, 4))
        assert [one.file_no for one in store.catalog_files()] == [3, 4]

    def test_two_titles_may_share_files(self, store: Store) -> None:
        store.register_title(make_title(), expected_version=0, **NOTED)
        twin = replace(make_title(), title_id=TitleId("twin"))
        got = store.register_title(twin, expected_version=0, **NOTED)
        assert isinstance(got, StoredTitle)
        assert got.file_nos == (1, 2)
        assert [one.title_id for one in store.catalog_files()] == [FILM, FILM]
        store.withdraw_title(FILM, **NOTED)
        assert [one.title_id for one in store.catalog_files()] == ["twin", "twin"]
        assert store.catalog_totals().file_count == 2

    def test_a_file_of_another_size_is_refused_whole(self, store: Store) -> None:
        title = make_title()
        store.register_title(title, expected_version=0, **NOTED)
        lying = replace(title.files[0], size_bytes=5)
        fake = replace(title, title_id=TitleId("fake"), files=(*make_title("fake").files, lying))
        with pytest.raises(CatalogError, match="another size"):
            store.register_title(fake, expected_version=0, **NOTED)
        new = store.register_title(make_title("next"), expected_version=0, **NOTED)
        assert isinstance(new, StoredTitle)
        assert new.file_nos == (3, 4)

    def test_pages_of_titles(self, store: Store) -> None:
        for name in ("a", "b", "c"):
            store.register_title(make_title(name), expected_version=0, **NOTED)
        assert [one.title.title_id for one in store.titles(limit=2)] == ["a", "b"]
        assert [one.title.title_id for one in store.titles(after=TitleId("b"), limit=2)] == ["c"]

    def test_pages_of_the_newest_titles(self, store: Store) -> None:
        for name, at_s in (("a", 3.0), ("b", 1.0), ("c", 2.0), ("d", 2.0)):
            store.register_title(make_title(name), expected_version=0, event=A_REASON, now_s=at_s)

        def page(after: str | None) -> list[str]:
            start = None if after is None else TitleId(after)
            return [one.title.title_id for one in store.titles(after=start, limit=2, is_newest_first=True)]

        assert (page(None), page("d"), page("b"), page("none")) == (["a", "d"], ["c", "b"], [], [])
        store.withdraw_title(TitleId("d"), **NOTED)
        assert page("d") == ["c", "b"]

    def test_titles_are_found_by_words_of_id_and_name(self, store: Store) -> None:
        for name, words in (("bbb-1", "Big Buck Bunny"), ("ed-1", "Éléphants' Dream 50%"), ("bbb_2", "Big Bünny")):
            title = replace(make_title(name), name=words)
            store.register_title(title, expected_version=0, **NOTED)

        def found(words: str, **more: Any) -> list[str]:
            return [one.title.title_id for one in store.titles(find=words, **more)]

        assert found("BIG") == ["bbb-1", "bbb_2"]
        assert found(" bunny  big ") == ["bbb-1"]
        assert found("éléph") == found("ÉLÉPH") == found("50%") == ["ed-1"]
        assert (found("b_2"), found("%"), found("nothing")) == (["bbb_2"], ["ed-1"], [])
        assert found("big", after=TitleId("bbb-1")) == ["bbb_2"]
        assert found("1", is_newest_first=True, limit=1) == ["ed-1"]

    def test_titles_of_an_older_schema_are_found_too(self, store: SqlStore, url: str) -> None:
        store.register_title(replace(make_title(), name="Big Film"), expected_version=0, **NOTED)
        database = Database(url)
        config = schema_config()
        with database.writing() as connection:
            config.attributes["connection"] = connection
            command.downgrade(config, "0002")
        assert migrate(database)[0] == "0002"
        database.close()
        assert [one.title.name for one in store.titles(find="big")] == ["Big Film"]

    def test_registrations_at_once_one_wins_and_numbers_are_dense(self, store: Store, other: Store) -> None:
        works: list[Callable[[], Any]] = []
        for index in range(12):
            node = (store, other)[index % 2]
            title = make_title(f"t{index // 2}", salt=index)
            works.append(lambda node=node, title=title: node.register_title(title, expected_version=0, **NOTED))
        outcomes = at_once(works)
        won = [one for one in outcomes if isinstance(one, StoredTitle)]
        assert len(won) == 6
        assert sum(isinstance(one, TitleConflict) for one in outcomes) == 6
        assert sorted(number for one in won for number in one.file_nos) == list(range(1, 13))


class TestTokens:
    def test_operators_tokens(self, store: Store) -> None:
        admin = TokenRow(
            token_id="t1",
            kind=TokenKind.OPERATOR,
            name="root",
            role=Role.ADMIN,
            secret_sha256="ab" * 32,
            created_at_s=NOW_S,
        )
        assert store.add_token(admin, only_first_admin=True, **NOTED)
        assert not store.add_token(replace(admin, token_id="t2"), only_first_admin=True, **NOTED)
        assert not store.add_token(admin, **NOTED)
        session = replace(admin, token_id="s1", kind=TokenKind.SESSION, parent_id="t1", expires_at_s=NOW_S + 9)
        assert store.add_token(session, event=None, now_s=NOW_S)
        assert store.tokens() == (admin,)
        store.touch_token("t1", now_s=NOW_S + 5)
        assert store.token("t1") == replace(admin, last_used_at_s=NOW_S + 5)
        assert store.revoke_token("t1", **NOTED)
        assert not store.revoke_token("t1", **NOTED)
        assert store.tokens() == ()
        kept = store.token("s1")
        assert kept is not None
        assert kept.is_revoked
        assert store.token("none") is None

    def test_one_first_admin_of_two_nodes(self, store: Store, other: Store) -> None:
        def add(node: Store, token_id: str) -> bool:
            admin = TokenRow(
                token_id=token_id,
                kind=TokenKind.OPERATOR,
                name="root",
                role=Role.ADMIN,
                secret_sha256="ab" * 32,
                created_at_s=NOW_S,
            )
            return node.add_token(admin, only_first_admin=True, **NOTED)

        assert sorted(at_once([lambda: add(store, "t1"), lambda: add(other, "t2")])) == [False, True]

    def test_rotation(self, store: Store) -> None:
        enrolled(store)
        assert store.start_rotation("cred-a1", next_sha256="11" * 32)
        assert store.start_rotation("cred-a1", next_sha256="22" * 32)
        assert not store.end_rotation("cred-a1", used_sha256="11" * 32, **NOTED)
        assert store.end_rotation("cred-a1", used_sha256="22" * 32, **NOTED)
        assert not store.end_rotation("cred-a1", used_sha256="22" * 32, **NOTED)
        kept = store.appliance_token(A1)
        assert kept is not None
        assert (kept.secret_sha256, kept.next_sha256, kept.rotated_at_s) == ("22" * 32, None, NOW_S)

    def test_a_join_token_needs_its_site(self, store: Store) -> None:
        assert not store.add_join_token(join_row(), **NOTED)
        store.put_site(make_site(), **NOTED)
        assert store.add_join_token(join_row(), **NOTED)
        assert store.join_token("j1") == join_row()
        assert store.join_token("none") is None

    def test_a_join_token_enrols_once(self, store: Store, other: Store) -> None:
        store.put_site(make_site(), **NOTED)
        store.add_join_token(join_row(), **NOTED)
        works: list[Callable[[], Any]] = [
            lambda i=i: (store, other)[i % 2].enrol(
                "j1", make_appliance(f"a{i}"), credential(f"c{i}", f"a{i}"), **NOTED
            )
            for i in range(6)
        ]
        outcomes = at_once(works)
        assert sorted(outcomes) == [Enrolment.DONE] + [Enrolment.TOKEN_SPENT] * 5
        assert len(store.fleet()) == 1

    def test_one_id_enrolled_twice_at_once(self, store: Store, other: Store) -> None:
        store.put_site(make_site(), **NOTED)
        for name in ("j1", "j2"):
            store.add_join_token(join_row(name), **NOTED)
        outcomes = at_once(
            [
                lambda: store.enrol("j1", make_appliance(), credential("c1"), **NOTED),
                lambda: other.enrol("j2", make_appliance(), credential("c2"), **NOTED),
            ]
        )
        assert sorted(outcomes) == [Enrolment.ALREADY_ENROLLED, Enrolment.DONE]

    def test_a_lost_answer_may_be_asked_again_until_the_credential_is_used(self, store: Store) -> None:
        enrolled(store)
        assert store.enrol("join-a1", make_appliance(), credential("again"), **NOTED) is Enrolment.DONE
        mine = store.appliance_token(A1)
        assert mine is not None
        assert mine.token_id == "again"
        stranger = store.enrol("join-a1", make_appliance("a2"), credential("c2", "a2"), **NOTED)
        assert stranger is Enrolment.TOKEN_SPENT
        store.touch_token("again", now_s=NOW_S)
        assert store.enrol("join-a1", make_appliance(), credential("third"), **NOTED) is Enrolment.TOKEN_SPENT

    def test_one_admin_stays_when_two_end_each_other(self, store: Store, other: Store) -> None:
        names = [f"{number:016x}" for number in range(6)]
        for name in names:
            admin = credential(name, kind=TokenKind.OPERATOR, role=Role.ADMIN, name=name, appliance_id=None)
            store.add_token(admin, event=None, now_s=NOW_S)
        works: list[Callable[[], Any]] = [
            lambda s=s, name=name: s.revoke_token(name, keeps_last_admin=True, **NOTED)
            for s, name in zip((store, other) * 3, names, strict=True)
        ]
        assert sorted(at_once(works)) == [False, True, True, True, True, True]
        assert len(store.tokens()) == 1
        assert store.revoke_token(store.tokens()[0].token_id, **NOTED)

    def test_no_session_is_opened_with_a_token_that_has_ended(self, store: Store) -> None:
        store.add_token(credential("op", kind=TokenKind.OPERATOR, role=Role.READ), event=None, now_s=NOW_S)
        session = credential("s1", kind=TokenKind.SESSION, role=Role.READ, parent_id="op")
        assert store.add_token(session, event=None, now_s=NOW_S)
        store.revoke_token("op", **NOTED)
        assert not store.add_token(replace(session, token_id="s2"), event=None, now_s=NOW_S)
        old = store.token("s1")
        assert old is not None
        assert old.is_revoked

    def test_a_revoked_credential_does_not_rotate(self, store: Store) -> None:
        enrolled(store)
        assert store.start_rotation("cred-a1", next_sha256="ef" * 32)
        store.revoke_token("cred-a1", **NOTED)
        assert not store.end_rotation("cred-a1", used_sha256="ef" * 32, **NOTED)

    def test_a_known_id_needs_a_token_bound_to_it(self, store: Store) -> None:
        enrolled(store)
        store.touch_token("cred-a1", now_s=NOW_S)
        store.change_appliance(make_appliance(admin_state=AdminState.DISABLED), expected_version=1, **NOTED)
        store.add_join_token(join_row("free"), **NOTED)
        assert store.enrol("free", make_appliance(), credential("c2"), **NOTED) is Enrolment.ALREADY_ENROLLED
        store.add_join_token(join_row("bound", appliance_id=A1), **NOTED)
        stranger = store.enrol("bound", make_appliance("a2"), credential("c3", "a2"), **NOTED)
        assert stranger is Enrolment.TOKEN_SPENT
        moved = make_appliance(content_url="http://192.0.2.99")
        assert store.enrol("bound", moved, credential("c4"), **NOTED) is Enrolment.DONE
        row = store.appliance(A1)
        assert row is not None
        assert row.appliance == replace(moved, admin_state=AdminState.DISABLED)
        old = store.token("cred-a1")
        assert old is not None
        assert old.is_revoked

    def test_other_refusals_of_enrolment(self, store: Store) -> None:
        store.put_site(make_site(), **NOTED)
        assert store.enrol("none", make_appliance(), credential(), **NOTED) is Enrolment.TOKEN_SPENT
        store.add_join_token(join_row(expires_at_s=NOW_S), **NOTED)
        assert store.enrol("j1", make_appliance(), credential(), **NOTED) is Enrolment.TOKEN_EXPIRED
        store.add_join_token(join_row("j2"), **NOTED)
        lost_site = make_appliance(site_id="gone")
        assert store.enrol("j2", lost_site, credential(), **NOTED) is Enrolment.NO_SUCH_SITE
        assert store.fleet() == ()


class TestRecords:
    def test_events_have_no_gaps_and_are_seen_in_order(self, store: Store, other: Store) -> None:
        seen: list[int] = []
        done = threading.Event()

        def watch() -> None:
            while not done.is_set() or store.versions().events > (seen[-1] if seen else 0):
                seen.extend(one.event_id for one in store.events(after=seen[-1] if seen else 0))

        watcher = threading.Thread(target=watch)
        watcher.start()

        def write(node: Store) -> None:
            for _ in range(10):
                node.append_event(A_REASON, now_s=NOW_S)

        at_once([lambda: write(store), lambda: write(other), lambda: write(store), lambda: write(other)])
        done.set()
        watcher.join(30)
        assert seen == list(range(1, 41))
        first = store.events(limit=1)[0]
        assert (first.actor, first.kind, first.reason, first.at_s) == (A_REASON.actor, A_REASON.kind, "a test", NOW_S)

    def test_old_events_are_dropped_and_their_ids_never_given_again(self, store: Store) -> None:
        for _ in range(5):
            store.append_event(A_REASON, now_s=NOW_S)
        assert store.drop_events(keep=2) == 3
        assert store.drop_events(keep=2) == 0
        assert store.append_event(A_REASON, now_s=NOW_S) == 6
        assert [one.event_id for one in store.events()] == [4, 5, 6]

    def test_leases(self, store: Store, other: Store) -> None:
        assert store.take_lease("plan", "n1", duration_s=5, now_s=NOW_S) is not None
        assert other.take_lease("plan", "n2", duration_s=5, now_s=NOW_S + 4) is None
        assert store.take_lease("plan", "n1", duration_s=5, now_s=NOW_S + 4) is not None
        assert other.take_lease("plan", "n2", duration_s=5, now_s=NOW_S + 8) is None
        assert other.take_lease("plan", "n2", duration_s=5, now_s=NOW_S + 9) is not None
        store.give_up_lease("plan", "n1")
        assert store.take_lease("plan", "n1", duration_s=5, now_s=NOW_S + 10) is None
        other.give_up_lease("plan", "n2")
        assert store.take_lease("plan", "n1", duration_s=5, now_s=NOW_S + 10) is not None

    def test_one_of_many_gets_a_new_lease(self, store: Store, other: Store) -> None:
        works: list[Callable[[], Any]] = [
            lambda i=i: (store, other)[i % 2].take_lease("x", f"n{i}", duration_s=5, now_s=NOW_S) for i in range(6)
        ]
        assert sum(one is not None for one in at_once(works)) == 1

    def test_notes(self, store: Store) -> None:
        store.put_note("probe/n1", "old", now_s=NOW_S)
        store.put_note("probe/n1", "new", now_s=NOW_S + 1)
        store.put_note("probe/n2", "x", now_s=NOW_S - 50)
        store.put_note("other", "y", now_s=NOW_S)
        assert store.notes("probe/") == {"probe/n1": "new", "probe/n2": "x"}
        assert store.notes("probe/", since_s=NOW_S) == {"probe/n1": "new"}
        store.drop_notes("probe/", before_s=NOW_S)
        assert store.notes("") == {"probe/n1": "new", "other": "y"}

    def test_snapshot_by_compare_and_set(self, store: Store) -> None:
        assert (store.snapshot(), store.snapshot_etag()) == (None, None)
        one = StoredSnapshot(version=1, etag="e1", packed=b"\x00\xff")
        assert store.save_snapshot(one, expected_version=0)
        assert not store.save_snapshot(one, expected_version=0)
        assert store.snapshot() == one
        two = StoredSnapshot(version=2, etag="e2", packed=b"2")
        assert not store.save_snapshot(two, expected_version=7)
        assert store.save_snapshot(two, expected_version=1)
        assert store.snapshot_etag() == (2, "e2")

    def test_parts_of_a_snapshot_stay_while_somebody_may_ask(self, store: Store) -> None:
        one, other = "1" * 64, "2" * 64
        assert store.snapshot_part(one) is None
        first = StoredSnapshot(version=1, etag="e1", packed=b"1", parts={one: b"body", other: b""})
        assert store.save_snapshot(first, expected_version=0)
        assert (store.snapshot_part(one), store.snapshot_part(other)) == (b"body", b"")
        lost = StoredSnapshot(version=2, etag="e2", packed=b"2", parts={"3" * 64: b"x"})
        assert not store.save_snapshot(lost, expected_version=7)
        assert store.snapshot_part("3" * 64) is None, "the race was lost"
        for version in range(2, 50):
            next_one = StoredSnapshot(version=version, etag="e", packed=b"2", parts={other: b""})
            assert store.save_snapshot(next_one, expected_version=version - 1)
            assert version > 3 or store.snapshot_part(one) == b"body"
        assert (store.snapshot_part(one), store.snapshot_part(other)) == (None, b"")
        assert store.snapshot() == StoredSnapshot(version=49, etag="e", packed=b"2")
