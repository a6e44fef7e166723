"""The fleet page on a real control node: what the API does shows in the page, and the page's actions reach the API."""

import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, expect

from headrace.control.secret_text import SecretKind, new_secret

GIB = 2**30
pytestmark = pytest.mark.browser


@dataclass(frozen=True)
class Control:
    """A running node and its first administrator's token."""

    url: str
    token: str

    def send(self, method: str, path: str, body: object, *, token: str = "") -> dict[str, object]:
        """Ask the API as an operator would."""
        headers = {"authorization": f"Bearer {token or self.token}"}
        answer = httpx.request(method, self.url + path, json=body, headers=headers, timeout=10)
        answer.raise_for_status()
        result: dict[str, object] = answer.json()
        return result


def offload_now() -> dict[str, object]:
    """What counting would tell: 80 % of the bytes of the last hours stayed in their sites, 15 % came over peering."""
    hour = int(time.time() // 3_600)
    tiers = {"own": 80 * GIB, "private-peering": 10 * GIB, "public-peering": 5 * GIB, "origin-side": 5 * GIB}
    hours = [{"hour": hour - ago, "bytes_by_tier": tiers} for ago in (40, 3, 2, 1)]
    sites = [{"site_id": "ams", "own_bytes": 80, "total_bytes": 100}]
    return {"made_s": time.time(), "hours": hours, "sites": sites}


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Control]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    token = new_secret(SecretKind.OPERATOR).text
    (tmp_path / "admin.token").write_text(token)
    config = tmp_path / "control.toml"
    config.write_text(f"[listen]\nport = {port}\n")
    run = "from headrace.cli.main import main; main()"
    command = [sys.executable, "-c", run, "control", "--config", str(config), "--log-level", "WARNING"]
    process = subprocess.Popen(command, stderr=sys.stderr)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until_healthy(url, process)
        yield Control(url=url, token=token)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=15)


def wait_until_healthy(url: str, process: subprocess.Popen[bytes]) -> None:
    """Ask until it answers."""
    end_s = time.monotonic() + 30
    while True:
        try:
            if httpx.get(f"{url}/healthz", timeout=2).is_success:
                return
        except httpx.TransportError:
            pass
        assert process.poll() is None, "control ended"
        assert time.monotonic() < end_s, "control did not start"
        time.sleep(0.1)


def test_an_appliance_appears_as_it_enrols_and_is_drained_from_the_page(chromium: Browser, control: Control) -> None:
    page = chromium.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.goto(f"{control.url}/#token={control.token}")
    expect(page.locator("#live-words")).to_have_text("Live", timeout=15_000)
    assert control.token not in page.url

    site = {"site_id": "ams", "name": "Amsterdam", "prefixes": ["192.0.2.0/24"]}
    control.send("PUT", "/v1/sites/ams", site)
    join = control.send("POST", "/v1/join-tokens", {"site_id": "ams"})["token"]
    enrolment = {"appliance_id": "ams-1", "content_url": "http://192.0.2.10", "capacity_bps": 10_000_000_000}
    control.send("POST", "/v1/enrol", enrolment, token=str(join))
    row = page.locator("tr[data-appliance='ams-1']")
    expect(row).to_contain_text("Has never reported", timeout=5_000)
    expect(page.locator("#recent-list")).to_contain_text("Appliance enrolled ams-1")

    row.get_by_role("link", name="ams-1").click()
    page.get_by_role("button", name="Drain").click()
    page.get_by_label("Reason, for the record").fill("new disks")
    page.locator("#action-confirm").click()
    expect(page.locator("#appliance-state")).to_contain_text(re.compile("Drain"), timeout=5_000)
    expect(page.locator("#appliance-events li").first).to_contain_text("New disks")
    page.keyboard.press("Escape")

    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.close()
    assert problems == []


def test_offload_that_is_told_shows_on_the_page(chromium: Browser, control: Control) -> None:
    page = chromium.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.goto(f"{control.url}/#token={control.token}")
    expect(page.locator("#offload-hint")).to_contain_text("No demand counted yet", timeout=15_000)
    expect(page.locator("#offload-told")).to_be_hidden()
    assert control.send("PUT", "/v1/offload", offload_now())["summary"] is not None
    page.reload()
    expect(page.locator("#offload-own")).to_have_text("80%", timeout=15_000)
    expect(page.locator("#offload-hint")).to_be_hidden()
    expect(page.locator("#offload-shares [data-group='peering']")).to_contain_text("15%")
    expect(page.locator("#offload-shares [data-group='origin']")).to_contain_text("5.0%")
    expect(page.locator("#offload-shares li")).to_have_count(3)
    expect(page.locator("#offload-note")).to_contain_text("Last 24 hours, 300.0 GiB, counted")
    expect(page.locator("#offload-plot canvas")).to_be_visible()
    page.close()
    assert problems == []
