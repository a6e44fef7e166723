"""The agent's ledger beside other readers, and `headrace log`, which is one of them."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from headrace.appliance.adapters.ledger import Ledger, read_titles
from headrace.appliance.errors import StateError
from headrace.appliance.plan import FillPlan, make_plan
from headrace.base.ids import FileNo, RenditionId, Sha256, TitleId
from headrace.catalog.model import CatalogFile, FileSuffix, content_path
from headrace.cli.main import build_app
from headrace.telemetry.testing import log_line

NAME = Sha256("ab" * 32)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The state folder of an appliance whose plan has one file."""
    file = CatalogFile(
        file_no=FileNo(1),
        sha256=NAME,
        size_bytes=1000,
        suffix=FileSuffix.MP4,
        title_id=TitleId("film"),
        rendition_id=RenditionId("v720"),
    )
    ledger = Ledger(tmp_path / "ledger.db")
    ledger.replace_plan(FillPlan(), make_plan(1, {FileNo(1): file}))
    ledger.close()
    return tmp_path


def test_titles_are_read_beside_a_running_agent(state: Path) -> None:
    running = Ledger(state / "ledger.db")
    assert read_titles(state / "ledger.db") == {NAME: (TitleId("film"), RenditionId("v720"))}
    running.close()


def test_no_ledger_is_a_clear_error_and_none_is_made(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="unable to open"):
        read_titles(tmp_path / "ledger.db")
    assert not (tmp_path / "ledger.db").exists()


def test_a_damaged_ledger_is_set_aside_and_made_anew(state: Path) -> None:
    (state / "ledger.db").write_bytes(b"no database at all" * 100)
    ledger = Ledger(state / "ledger.db")
    assert ledger.plan().version == 0
    ledger.close()
    assert (state / "ledger.damaged").exists()


def test_a_ledger_that_cannot_be_opened_now_is_not_set_aside(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").mkdir()
    with pytest.raises(StateError, match="Is a directory"):
        Ledger(tmp_path / "ledger.db")
    assert (tmp_path / "ledger.db").is_dir()


def test_the_log_command_joins_title_and_rendition(state: Path) -> None:
    config = state / "agent.toml"
    config.write_text(
        f'[appliance]\nid = "a1"\ncontent_url = "http://192.0.2.1"\nstate = "{state}"\n'
        f'[control]\nurls = ["http://192.0.2.9"]\n[store]\nfolders = ["{state}/disk"]\n'
    )
    (state / "nginx").mkdir()
    planned, other = content_path(NAME, FileSuffix.MP4), content_path(Sha256("cd" * 32), FileSuffix.MP4)
    lines = [log_line(path=planned), b"not a record", log_line(path=other)]
    (state / "nginx" / "access.log").write_bytes(b"".join(line.rstrip(b"\n") + b"\n" for line in lines))
    words = ["log", "--config", str(config), "--json"]
    result = CliRunner().invoke(build_app(words), words)
    assert result.exit_code == 0, result.output
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(one["title"], one["rendition"]) for one in records] == [("film", "v720"), (None, None)]
    assert records[0]["request"]["sha256"] == NAME
    assert "not a record: 1 line" in result.stderr
