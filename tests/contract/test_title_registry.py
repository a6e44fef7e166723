"""The registry of titles: the control plane's API (in process, on SQLite) and the fake in memory promise the same."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from headrace.base.clock import SystemClock
from headrace.base.ids import TitleId
from headrace.control.adapters.store import open_store
from headrace.control.api.app import make_app
from headrace.control.api.parts import make_parts
from headrace.control.bootstrap import take_tokens
from headrace.control.config import read_config
from headrace.control.secret_text import SecretKind, new_secret
from headrace.control.testing import make_title
from headrace.origin.adapters.registry import ControlRegistry
from headrace.origin.errors import TitleConflictError
from headrace.origin.ports import TitleRegistry
from headrace.origin.testing import MemoryRegistry
from headrace.wire.client import ControlClient
from headrace.wire.errors import UnauthorizedError
from headrace.wire.operator import TitleRegistration

FILM = TitleId("film")


@pytest.fixture
async def clients(tmp_path: Path) -> AsyncIterator[tuple[ControlClient, ControlClient]]:
    """Clients of one control plane: an admin and a reader."""
    secrets = [new_secret(SecretKind.OPERATOR) for _ in range(2)]
    files = [tmp_path / "admin.token", tmp_path / "read.token"]
    for secret, file in zip(secrets, files, strict=True):
        file.write_text(secret.text)
    clock = SystemClock()
    store = open_store(f"sqlite:///{tmp_path}/control.db")
    take_tokens(store, *files, now_s=clock.now_s())
    app = make_app(make_parts(read_config("", source="test"), store, clock))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app)) as http:
        admin, reader = (ControlClient(http, ("http://control",), secret.text) for secret in secrets)
        yield admin, reader
    store.close()


@pytest.fixture(params=["control", "memory"])
def registry(request: pytest.FixtureRequest, clients: tuple[ControlClient, ControlClient]) -> TitleRegistry:
    return MemoryRegistry() if request.param == "memory" else ControlRegistry(clients[0])


def registration(*, expected_version: int, salt: int = 0) -> TitleRegistration:
    title = replace(make_title("film", renditions=2, salt=salt), source_digest=f"digest-{salt}")
    return TitleRegistration(title=title, expected_version=expected_version)


async def test_a_title_is_there_whole_after_it_is_registered(registry: TitleRegistry):
    await registry.check(FILM)
    assert await registry.find(FILM) is None
    asked = registration(expected_version=0)
    assert (await registry.register(asked)).version == 1
    found = await registry.find(FILM)
    assert found is not None
    assert found.title == asked.title


async def test_the_second_of_two_first_publishes_loses(registry: TitleRegistry):
    await registry.register(registration(expected_version=0))
    with pytest.raises(TitleConflictError, match="another publish"):
        await registry.register(registration(expected_version=0, salt=1))
    found = await registry.find(FILM)
    assert found is not None
    assert found.title.source_digest == "digest-0"


async def test_a_title_is_replaced_by_naming_the_version_that_is_there(registry: TitleRegistry):
    await registry.register(registration(expected_version=0))
    assert (await registry.register(registration(expected_version=1, salt=1))).version == 2
    with pytest.raises(TitleConflictError):
        await registry.register(registration(expected_version=1, salt=2))


async def test_checking_registers_nothing(registry: TitleRegistry):
    await registry.check(FILM)
    assert await registry.find(FILM) is None


async def test_a_token_that_may_only_read_is_found_out_before_any_work(clients: tuple[ControlClient, ControlClient]):
    with pytest.raises(UnauthorizedError, match="operate"):
        await ControlRegistry(clients[1]).check(FILM)
