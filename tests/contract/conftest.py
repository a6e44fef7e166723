"""What suites of the store share: SQLite and PostgreSQL, one after the other, and a second control node on each."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.control.adapters.store import SqlStore, open_store
from headrace.control.testing import Postgres, running_postgres


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/store.db"
    server: Postgres = request.getfixturevalue("postgres")
    return server.new_database()


@pytest.fixture
def store(url: str) -> Iterator[SqlStore]:
    opened = open_store(url)
    yield opened
    opened.close()


@pytest.fixture
def other(url: str, store: SqlStore) -> Iterator[SqlStore]:
    """A second control node on the same database."""
    opened = open_store(url)
    yield opened
    opened.close()
