"""The API of one control node on a store that is made once and copied for each test."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from headrace.base.clock import ManualClock
from headrace.control.adapters.store import open_store
from headrace.control.api.app import make_app
from headrace.control.api.parts import make_parts
from headrace.control.bootstrap import take_tokens
from headrace.control.config import read_config
from headrace.control.secret_text import SecretKind, new_secret
from headrace.control.testing_api import CONFIG, Api


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty store, made once."""
    file = tmp_path_factory.mktemp("store") / "empty.db"
    open_store(f"sqlite:///{file}").close()
    return file


@pytest.fixture
def config() -> str:
    """More settings, by parametrize."""
    return ""


@pytest.fixture
async def api(tmp_path: Path, migrated: Path, config: str) -> AsyncIterator[Api]:
    clock = ManualClock()
    shutil.copy(migrated, tmp_path / "store.db")
    store = open_store(f"sqlite:///{tmp_path}/store.db")
    secret = new_secret(SecretKind.OPERATOR)
    (tmp_path / "admin.token").write_text(secret.text + "\n")
    take_tokens(store, tmp_path / "admin.token", tmp_path / "missing", now_s=clock.now_s())
    app = make_app(make_parts(read_config(CONFIG + config, source="test"), store, clock))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://control") as http:
        yield Api(http, app, store, clock, secret.text)
    store.close()
