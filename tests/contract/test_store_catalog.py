"""What the store keeps of titles and their files, on SQLite and on PostgreSQL."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from alembic import command

from headrace.base.ids import FileNo, TitleId
from headrace.catalog.fileset import FileSet
from headrace.catalog.model import CatalogError
from headrace.control.adapters.database import Database
from headrace.control.adapters.migrate import migrate, schema_config
from headrace.control.adapters.store import SqlStore
from headrace.control.model import (
    StoredTitle,
    TitleConflict,
)
from headrace.control.ports import Store
from headrace.control.testing import (
    A_REASON,
    make_title,
)
from headrace.control.testing_store import FILM, NOTED, NOW_S, at_once


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
