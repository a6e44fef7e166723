"""A control node's start and stop, and what its commands say: TLS, faults, `--check`, sites and windows."""

import json
import signal
import subprocess
import time
from pathlib import Path

import httpx
import psycopg
import pytest
from alembic.script import ScriptDirectory

from headrace.cli.testing import Cli, Done
from headrace.control.adapters.migrate import look, schema_config
from headrace.control.adapters.store import open_store
from headrace.control.errors import StoreError
from headrace.control.testing import running_postgres
from headrace.control.testing_process import HEADRACE, Node, events_of, register, running

NEWEST = ScriptDirectory.from_config(schema_config()).get_current_head()


def test_init_tls_cli_and_a_stop_with_open_streams(tmp_path: Path, cli: Cli) -> None:
    folder = tmp_path / "net"
    assert cli("init", str(folder), "--host", "127.0.0.1").code == 0
    for name in ("ca.key", "control.key", "admin.token", "steering.token"):
        assert (folder / name).stat().st_mode & 0o777 == 0o600
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    again = cli("init", str(folder))
    assert (again.code, "--force" in again.err) == (2, True)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    with running(folder) as node:
        with pytest.raises(httpx.ConnectError):
            httpx.get(node.url + "/healthz", trust_env=False)
        use_cli(node, cli)
        with node.client() as client, client.stream("GET", "/v1/stream") as stream:
            messages = events_of(stream)
            kind, fleet = next(messages)
            assert (kind, fleet["sites"][0]["site_id"]) == ("fleet", "ams1")
            with node.client() as other:
                assert register(other, "film").status_code == 200
            seen = []
            for kind, value in messages:
                seen.append(value["kind"] if kind == "event" else value["title_count"])
                if {"title.published", 1} <= set(seen):
                    break
            started_s = time.monotonic()
            node.process.send_signal(signal.SIGTERM)
            assert [kind for kind, _ in messages if kind != "fleet"] == []
        assert node.process.wait(10) == 0
        assert time.monotonic() - started_s < 6
        text = node.log.read_text()
        assert "stopped node=" in text
        assert "Traceback" not in text
        for secret in ("admin.token", "steering.token"):
            assert (folder / secret).read_text().strip() not in text


def use_cli(node: Node, cli: Cli) -> None:
    assert cli("site", "add", "ams1", "--prefix", "192.0.2.0/24", *node.options).code == 0
    assert cli("appliance", "token", "--site", "ams1", *node.options).out.startswith("hrj_")
    status = cli("status", *node.options)
    assert (status.code, "Sites without appliances: ams1" in status.out) == (0, True)
    as_json = json.loads(cli("status", "--json", *node.options).out)
    assert [site["prefixes"] for site in as_json["sites"]] == [["192.0.2.0/24"]]
    listed = json.loads(cli("site", "list", "--json", *node.options).out)
    shown = json.loads(cli("site", "show", "ams1", "--json", *node.options).out)
    assert listed == [shown]
    for words in (("list",), ("show", "ams1")):
        assert "192.0.2.0/24" in cli("site", *words, *node.options).out
    wrong = cli("status", "--control", node.url, "--ca", str(node.folder / "ca.pem"), token="hro_wrong")
    assert (wrong.code, "Traceback" in wrong.err) == (24, False)
    assert cli("appliance", "show", "none", *node.options).code == 25
    assert cli("status", "--control", "http://127.0.0.1:1", token="x").code == 22


def test_faults_at_start_are_named(tmp_path: Path, cli: Cli) -> None:
    missing = cli("control", "--config", str(tmp_path / "none.toml"))
    assert (missing.code, "headrace init" in missing.err) == (2, True)
    assert cli("init", str(tmp_path / "net"), "--host", "127.0.0.1").code == 0
    config = tmp_path / "net" / "control.toml"
    assert cli("control", "--config", str(config), "--check").code == 0
    (tmp_path / "net" / "control.key").write_text("no key")
    config.write_text(config.read_text().replace("port = 8400", "port = 0"))
    command = [*HEADRACE, "control", "--config", str(config)]
    migrated = subprocess.run([*command, "--migrate-only"], capture_output=True, text=True, timeout=60, check=True)
    assert f"{NEWEST}, was empty" in migrated.stderr
    broken = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (broken.returncode, "control.key" in broken.stderr, "Traceback" in broken.stderr) == (29, True, False)


def test_check_finds_what_a_start_would_run_into_and_changes_nothing(tmp_path: Path, cli: Cli) -> None:
    folder = tmp_path / "net"
    assert cli("init", str(folder), "--host", "127.0.0.1").code == 0
    config, names = folder / "control.toml", {file.name for file in folder.iterdir()}

    def check() -> Done:
        return cli("control", "--config", str(config), "--check")

    good = check()
    assert (good.code, "headrace.db is not there yet" in good.err, "TLS: certificate" in good.err) == (0, True, True)
    key = (folder / "control.key").read_bytes()
    for name, body, fault in (
        ("control.key", None, "cannot read"),
        ("control.key", b"no key", "holds no private key"),
        ("control.key", (folder / "ca.key").read_bytes(), "is not the key of the certificate"),
        ("control.pem", b"no certificate", "holds no certificate"),
        ("admin.token", b"hro_short", "holds no operator's token"),
    ):
        file = folder / name
        kept = file.read_bytes()
        file.unlink() if body is None else file.write_bytes(body)
        said = check()
        assert (said.code, fault in said.err, "can be used" in said.err.splitlines()[-1]) == (
            27 if name == "admin.token" else 29,
            True,
            False,
        )
        assert key not in said.err.encode()
        file.write_bytes(kept)
    text = config.read_text()
    for url, fault in (
        ("sqlite:///control.pem/x.db", "is a file, not a folder"),
        ("sqlite:///control.pem", "file is not a database"),
        ("postgresql+psycopg://postgres@127.0.0.1:1/x", "check store.url and that the database runs"),
        ("mysql://x", "is not supported"),
    ):
        config.write_text(text.replace("sqlite:///headrace.db", url))
        said = check()
        assert (said.code, fault in said.err, "Traceback" in said.err) == (28, True, False), said.err
    config.write_text(text)
    assert {file.name for file in folder.iterdir()} == names
    assert cli("control", "--config", str(config), "--migrate-only").code == 0
    assert f"schema {NEWEST}, up to date" in check().err


def test_check_on_postgresql(tmp_path: Path) -> None:
    with running_postgres() as server:
        url = server.new_database()
        assert look(url).revision is None
        with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as admin:
            admin.execute("CREATE ROLE guest LOGIN")
        with pytest.raises(StoreError, match="may not make tables"):
            look(url.replace("postgres@", "guest@"))
        open_store(url).close()
        assert look(url).revision == look(url).newest


def test_maintenance_from_the_command_line(tmp_path: Path, cli: Cli) -> None:
    folder = tmp_path / "control"
    assert cli("init", str(folder), "--host", "127.0.0.1").code == 0
    with running(folder) as node:
        assert cli("site", "add", "ams1", "--region", "nl", *node.options).code == 0
        plan = ("maintenance", "plan", "--site", "ams1", "--reason", "power", *node.options)
        day = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 3 * 86_400))
        for words, said in (
            (("--start", f"{day}T02:00", "--for", "3h"), "has no time zone: add Z"),
            (("--start", f"{day}T02:00Z"), "what has no end is disabled instead"),
            (("--start", f"{day}T02:00Z", "--end", f"{day}T01:00Z"), "check both, and the zone"),
            (("--start", "2020-01-01T02:00Z", "--for", "3h"), "in the past"),
            (("--start", f"{day}T02:00Z", "--for", "31d"), "at most 30d 00h"),
        ):
            refused = cli(*plan, *words)
            assert refused.code != 0
            assert said in " ".join(refused.err.split())
        made = cli(*plan, "--start", f"{day} 02:00", "--for", "3h", "--zone", "Europe/Amsterdam")
        assert (made.code, made.err.startswith("w1: site ams1 from")) == (0, True), made.err
        assert f"{day} 02:00 CE" in made.err
        again = cli(*plan, "--start", f"{day} 03:00", "--for", "3h", "--zone", "Europe/Amsterdam")
        assert "is in maintenance window w1" in " ".join(again.err.split())
        listed = json.loads(cli("maintenance", "list", "--json", *node.options).out)
        assert [(one["window_id"], one["state"], one["site_id"]) for one in listed] == [("w1", "planned", "ams1")]
        shown = cli("maintenance", "show", "w1", *node.options)
        assert "planned by" in shown.out
        assert "operator:" in shown.out
        assert cli("maintenance", "cancel", "w1", "--reason", "later", *node.options).code == 0
        assert cli("maintenance", "cancel", "w1", *node.options).code != 0
        assert json.loads(cli("maintenance", "list", "--json", *node.options).out) == []
        assert cli("maintenance", "show", "../titles", *node.options).code != 0
