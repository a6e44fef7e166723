"""Maintenance windows on the fleet page, in a real browser: running, planned and past ones, and what changes."""

import dataclasses
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from headrace.base.clock import SystemClock
from headrace.base.ids import ApplianceId, SiteId
from headrace.fleet.maintenance import MaintenanceWindow, WindowState
from headrace.web.testing import StandInControl

pytestmark = pytest.mark.browser

HOUR = 3600.0


def make_windows(now_s: float) -> list[MaintenanceWindow]:
    """w1 is past, w2 and w4 are planned, w4 against the failure budget, w3 runs."""

    def window(number: int, from_h: float, to_h: float, reason: str, **fields: Any) -> MaintenanceWindow:
        times = {"starts_s": now_s + from_h * HOUR, "ends_s": now_s + to_h * HOUR, "drain_ahead_s": 2 * HOUR}
        told = {"reason": reason, "planned_by": "operator:ann", "planned_at_s": now_s - 99 * HOUR}
        return MaintenanceWindow(window_id=f"w{number}", **times, **told, **fields)

    fra, members = SiteId("fra"), (ApplianceId("fra-1"), ApplianceId("fra-2"))
    why = "1 of 2 appliances of lhr may be out at once, and lhr-1 is"
    return [
        window(1, -90, -88, "power of the hall", site_id=fra, state=WindowState.DONE),
        window(2, 30, 33, "<b>new disks</b>", appliance_id=ApplianceId("lhr-1")),
        window(3, -1, 1, "new switch", site_id=fra, state=WindowState.OPEN, members=members),
        window(4, 1, 3, "kernel", appliance_id=ApplianceId("lhr-2"), refusal="failure-budget", detail=why),
    ]


def test_windows_are_shown_and_followed(chromium: Browser) -> None:
    clock = SystemClock()
    control = StandInControl(clock)
    with control.served() as url:
        page = chromium.new_page(viewport={"width": 1280, "height": 1000})
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.goto(f"{url}/#token=read-token")
        expect(page.locator("#live-words")).to_have_text("Live", timeout=15_000)
        panel, rows = page.locator("#windows"), page.locator("#windows-table tbody tr")
        expect(panel).to_be_hidden()

        windows = make_windows(clock.now_s())
        control.windows = tuple(windows)
        control.record("maintenance.planned", "maintenance/w4")
        expect(page.locator("#windows-count")).to_have_text("1 running, 2 planned, 1 past", timeout=15_000)
        assert [row.get_attribute("data-window") for row in rows.all()] == ["w3", "w4", "w2"]
        expect(rows.nth(0)).to_contain_text("Site fra")
        expect(rows.nth(0)).to_contain_text("holds fra-1, fra-2")
        expect(rows.nth(0)).to_contain_text("Open")
        expect(rows.nth(1)).to_contain_text("May not begin")
        expect(rows.nth(1)).to_contain_text("may be out at once")
        expect(rows.nth(2)).to_contain_text("<b>new disks</b>")
        expect(rows.nth(2)).to_contain_text("3 h 0 min; drained from")
        page.get_by_label("Past ones too").check()
        expect(rows).to_have_count(4)
        expect(rows.nth(3)).to_contain_text("Done")

        windows[2] = dataclasses.replace(
            windows[2], state=WindowState.RETURNING, is_late=True, detail="fra-2 is not back"
        )
        control.windows = tuple(windows)
        control.record("maintenance.moved", "maintenance/w3")
        expect(rows.nth(0)).to_contain_text("Returning", timeout=15_000)
        expect(rows.nth(0)).to_contain_text("Late; fra-2 is not back")
        page.locator("#windows-table").get_by_role("link", name="lhr-1").click()
        expect(page.locator("#appliance-name")).to_have_text("lhr-1")
        page.keyboard.press("Escape")
        page.set_viewport_size({"width": 390, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.close()
    assert problems == []
