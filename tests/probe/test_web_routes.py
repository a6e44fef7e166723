"""The routes view in a real browser, on a control process that real messages have told of routes."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from headrace.control.testing_speakers import running_control
from headrace.routes.model import SessionState
from headrace.routes.testing_tables import make_routes

pytestmark = pytest.mark.browser


def test_sessions_imbalance_and_filtered_routes_are_shown(chromium: Browser, tmp_path: Path) -> None:
    names = [f"10.{n}.0.0/16" for n in range(150)]
    with running_control(tmp_path / "net") as control:
        a1, a2 = control.enrol("ams1-a", "ams1"), control.enrol("ams1-b", "ams1")
        a1.tell(make_routes([*names, "0.0.0.0/0"], 64496, 64497))
        a2.tell(make_routes(names[:149], 64496))
        control.until(lambda: control.heard() == {"ams1-a": 150, "ams1-b": 149})
        page = chromium.new_page()
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.goto(f"{control.url}/#token={control.token}")
        expect(page.locator("#live-words")).to_have_text("Live", timeout=15_000)
        page.locator("#nav-routes").click()
        rows = page.locator("#routes-table tbody tr")
        expect(rows).to_have_count(2)
        expect(rows.first).to_contain_text("Counts")
        page.select_option("#routes-report", "imbalance")
        expect(rows).to_have_count(2)
        expect(rows.nth(0)).to_contain_text("Misses prefixes")
        expect(rows.nth(1)).to_contain_text("missing at ams1-b")
        page.select_option("#routes-report", "filtered")
        expect(rows).to_have_count(1)
        expect(rows.first).to_contain_text("Default route")
        page.select_option("#routes-report", "prefixes")
        expect(page.locator("#routes-count")).to_contain_text("1 to 100 of 300 routes")
        page.locator("#routes-on").click()
        expect(page.locator("#routes-count")).to_contain_text("101 to 200 of 300")
        page.fill("#routes-find", "10.7.0.0/16")
        expect(rows).to_have_count(3)  # the default route lies around it
        with page.expect_download() as download:
            page.locator("#routes-csv").click()
        assert Path(download.value.path()).read_text().startswith("prefix,site_id")
        a2.tell({}, state=SessionState.DOWN, detail="<b>hold timer</b> expired")
        page.fill("#routes-find", "ams1-b")
        page.select_option("#routes-report", "sessions")
        expect(rows.first).to_contain_text("<b>hold timer</b> expired", timeout=15_000)
        assert problems == []
        page.close()
