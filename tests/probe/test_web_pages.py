"""The fleet page in a real browser: signing in, live updates, keyboard, phone, actions, a quiet console."""

import dataclasses
import re
import time
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from headrace.base.clock import SystemClock
from headrace.base.ids import TitleId
from headrace.fleet.model import HealthReason, HealthState
from headrace.web.testing import NO_MISSES, StandInControl, make_misses, make_offload
from headrace.wire.offload import OffloadView
from headrace.wire.operator import ApplianceView

pytestmark = pytest.mark.browser

WATCH_POLICY = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => window.violations.push(event.violatedDirective));
"""


@pytest.fixture(scope="module")
def control() -> Iterator[tuple[StandInControl, str]]:
    control = StandInControl(SystemClock(), demo_url="http://127.0.0.1:9")
    with control.served() as url:
        yield control, url


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[Callable[..., Page]]:
    """Opens pages in contexts of their own; at the end no script may have failed and no policy been broken."""
    opened: list[Page] = []
    problems: list[str] = []

    def open_at(url: str, *, width: int = 1280, height: int = 800, scheme: str = "light") -> Page:
        context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        context.set_default_timeout(8_000)
        context.add_init_script(WATCH_POLICY)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.goto(url)
        opened.append(page)
        return page

    yield open_at
    expected = ("status of 401", "status of 403", "status of 409", "status of 503")
    for page in opened:
        assert page.evaluate("window.violations") == []
        page.context.close()
    assert [one for one in problems if not any(text in one for text in expected)] == []


def test_a_token_in_the_address_signs_in_and_leaves_the_address(
    control: tuple[StandInControl, str], open_page: Callable[..., Page]
) -> None:
    page = open_page(f"{control[1]}/#token=operate-token")
    expect(page.locator("#live-words")).to_have_text("Live")
    assert "token" not in page.url
    expect(page.locator("tr[data-appliance='fra-3']")).to_contain_text("Its web server is down")
    expect(page.locator("tr[data-appliance='lhr-1']")).to_contain_text("1 of 3 failed")
    expect(page.locator("tr[data-appliance='fra-2']")).to_contain_text("412 of 980")
    expect(page.locator("#total-health")).to_contain_text("1 unhealthy, 1 lost")
    page.reload()
    expect(page.locator("#live-words")).to_have_text("Live")


def test_the_form_refuses_a_wrong_token_in_words_and_takes_a_right_one(
    control: tuple[StandInControl, str], open_page: Callable[..., Page]
) -> None:
    page = open_page(control[1])
    expect(page.get_by_label("Token")).to_be_focused()
    page.keyboard.type("wrong")
    page.keyboard.press("Enter")
    expect(page.locator("#sign-in-error")).to_contain_text("unknown or revoked token")
    page.get_by_label("Token").fill("read-token")
    page.keyboard.press("Enter")
    expect(page.locator("#live-words")).to_have_text("Live")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_a_change_shows_within_two_seconds(control: tuple[StandInControl, str], open_page: Callable[..., Page]) -> None:
    stand_in, url = control
    page = open_page(f"{url}/#token=read-token")
    row = page.locator("tr[data-appliance='ams-1']")
    expect(row).to_contain_text("Healthy")

    def fails(view: ApplianceView) -> ApplianceView:
        health = dataclasses.replace(view.health, state=HealthState.UNHEALTHY, reason=HealthReason.PROBE_FAILED)
        return dataclasses.replace(view, health=health)

    began_s = time.monotonic()
    stand_in.change("ams-1", fails)
    stand_in.record("appliance.health-changed", "appliance/ams-1", reason="probe-failed")
    expect(row).to_contain_text("Our own probe of a held file fails", timeout=2_000)
    expect(page.locator("#recent-list li").first).to_contain_text("ams-1", timeout=2_000)
    expect(page.locator("#announcer")).to_have_text("ams-1: Unhealthy, Our own probe of a held file fails")
    assert time.monotonic() - began_s < 2


def test_a_cut_stream_is_called_stale_and_found_again(
    control: tuple[StandInControl, str], open_page: Callable[..., Page]
) -> None:
    stand_in, url = control
    page = open_page(f"{url}/#token=read-token")
    expect(page.locator("#live-words")).to_have_text("Live")
    stand_in.is_streaming = False
    try:
        expect(page.locator("#live-words")).to_have_text(re.compile(r"Stale since \d\d:\d\d:\d\d"))
        expect(page.locator("#stale")).to_be_visible()
    finally:
        stand_in.is_streaming = True
    expect(page.locator("#live-words")).to_have_text("Live")
    expect(page.locator("#stale")).to_be_hidden()


def test_an_appliance_is_opened_drained_and_left_by_keyboard_alone(
    control: tuple[StandInControl, str], open_page: Callable[..., Page]
) -> None:
    page = open_page(f"{control[1]}/#token=operate-token")
    expect(page.locator("#live-words")).to_have_text("Live")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    link = page.get_by_role("link", name="fra-1").last
    link.focus()
    assert link.evaluate("(element) => getComputedStyle(element).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="fra-1")
    expect(dialog).to_be_visible()
    assert page.url.endswith("#/appliance/fra-1")
    for _ in range(12):
        page.keyboard.press("Tab")
        inside = "document.activeElement === document.body || document.activeElement.closest('dialog') !== null"
        assert page.evaluate(inside), "focus left the dialog"
    dialog.get_by_role("button", name="Drain").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_label("Reason, for the record")).to_be_focused()
    page.keyboard.type("a new kernel")
    page.keyboard.press("Enter")
    expect(page.locator("#appliance-state")).to_contain_text("Draining")
    expect(page.locator("#appliance-events li").first).to_contain_text("A new kernel: now draining")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(link).to_be_focused()


def test_a_refused_action_says_why_and_may_be_forced(
    control: tuple[StandInControl, str], open_page: Callable[..., Page]
) -> None:
    page = open_page(f"{control[1]}/#token=operate-token")
    page.evaluate("location.hash = '#/appliance/lhr-1'")
    page.get_by_role("button", name="Disable").click()
    page.get_by_label("Reason, for the record").fill("test")
    page.locator("#action-confirm").click()
    expect(page.locator("#action-error")).to_have_text("lhr-1 has the last copy of 2 files.")
    page.get_by_label("Do it all the same").check()
    page.locator("#action-confirm").click()
    expect(page.locator("#appliance-state")).to_contain_text("Disabled")


def test_a_reader_sees_no_actions(control: tuple[StandInControl, str], open_page: Callable[..., Page]) -> None:
    page = open_page(f"{control[1]}/#token=read-token")
    page.evaluate("location.hash = '#/appliance/ams-2'")
    expect(page.get_by_role("dialog", name="ams-2")).to_be_visible()
    expect(page.locator("#appliance-facts")).to_contain_text("http://ams-2.cdn.example")
    expect(page.locator("#appliance-actions")).to_be_hidden()


def test_titles_and_events_are_listed_filtered_and_never_read_as_html(
    control: tuple[StandInControl, str], open_page: Callable[..., Page]
) -> None:
    stand_in, url = control
    evil = "<img src=x onerror=alert(1)>"
    stand_in.record("title.published", "title/evil", reason="", detail=evil)
    page = open_page(f"{url}/#token=read-token")
    page.get_by_role("link", name="Titles").click()
    row = page.locator("#titles-table tbody tr").first
    expect(row).to_contain_text("240p to 1080p (4) · 1 audio · 1 subtitle")
    expect(row).to_contain_text("6 of 7 appliances")
    expect(row.get_by_role("link", name="Play Big Buck Bunny")).to_have_attribute(
        "href", "/player?title=big-buck-bunny"
    )
    page.get_by_role("link", name="Events", exact=True).click()
    expect(page.locator("#events-table tbody tr").first).to_contain_text(evil)
    page.get_by_label("Find").last.fill("join token")
    expect(page.locator("#events-table tbody tr")).to_have_count(1)
    page.get_by_label("Find").last.fill("")
    page.get_by_label("About").select_option("title")
    expect(page.locator("#events-count")).to_have_text("2 shown")


def test_many_titles_are_paged_and_found_by_keyboard(chromium: Browser, open_page: Callable[..., Page]) -> None:
    stand_in = StandInControl(SystemClock())
    film = stand_in.titles[0]
    stand_in.titles = tuple(
        dataclasses.replace(
            film,
            title=dataclasses.replace(film.title, title_id=TitleId(f"film-{number:04}"), name=f"Film {number}"),
            published_at_s=film.published_at_s - number,
        )
        for number in range(1234)
    )
    stand_in.fleet = dataclasses.replace(stand_in.fleet, title_count=1234)
    with stand_in.served() as url:
        page = open_page(f"{url}/#token=read-token")
        page.get_by_role("link", name="Titles").click()
        rows, count = page.locator("#titles-table tbody tr"), page.locator("#titles-count")
        expect(count).to_have_text("1 to 100 of 1,234, newest first")
        expect(rows).to_have_count(100)
        older, newer = page.get_by_role("button", name="Older"), page.get_by_role("button", name="Newer")
        expect(newer).to_have_attribute("aria-disabled", "true")
        older.focus()
        for first in range(101, 1201, 100):
            page.keyboard.press("Enter")
            expect(count).to_contain_text(f"{first:,} to ")
        page.keyboard.press("Enter")
        expect(count).to_have_text("1,201 to 1,234 of 1,234, newest first")
        expect(older).to_have_attribute("aria-disabled", "true")
        expect(older).to_be_focused()
        expect(rows.last).to_contain_text("Film 1233")
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Enter")
        expect(count).to_contain_text("1,101 to 1,200")
        expect(newer).to_be_focused()
        page.locator("#titles-find").focus()
        page.keyboard.type("FILM-01 7")
        expect(count).to_have_text("19 found")
        expect(rows.first).to_contain_text("Film 107")
        expect(page.locator("#titles-pages")).to_be_hidden()
        page.keyboard.type("x")
        expect(page.locator("#titles-none")).to_be_visible()
        expect(page.locator("#titles-find")).to_be_focused()
        page.goto("about:blank")  # before the server goes


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (360, "dark")])
def test_offload_is_told_in_figures_and_fits(
    control: tuple[StandInControl, str], open_page: Callable[..., Page], width: int, scheme: str
) -> None:
    stand_in, url = control
    stand_in.offload = make_offload(time.time())
    try:
        page = open_page(f"{url}/#token=read-token", width=width, scheme=scheme)
        expect(page.locator("#offload-own")).to_have_text("78%")
        shown = page.locator("#offload-shares li").all_text_contents()
        assert shown == ["own site78%", "peering14%", "origin5.0%", "home not known2.0%"]
        expect(
            page.locator("#offload-plot").get_by_role("img", name="Share of bytes by who served them")
        ).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.evaluate(NAMELESS) == []
        columns = page.evaluate("""async () => {
          const { columnsOf } = await import("/static/js/shares.js");
          const hours = [{hour: 99, bytes: {own: 3, embedded: 1}}, {hour: 100, bytes: {}}];
          return columnsOf(hours, [{names: ["own"]}], 100).map((one) => one.slice(-3));
        }""")
        assert columns == [[99 * 3600, 100 * 3600, 101 * 3600], [0.75, None, None]]
        stand_in.offload = make_offload(time.time() - 3 * 86_400)
        page.reload()
        expect(page.locator("#offload-old")).to_contain_text("of the last two days")
        expect(page.locator("#offload-told")).to_be_hidden()
    finally:
        stand_in.offload = OffloadView(summary=None)


@pytest.mark.parametrize(("width", "scheme"), [(1280, "dark"), (360, "light")])
def test_misses_are_told_by_reason_and_fit(
    control: tuple[StandInControl, str], open_page: Callable[..., Page], width: int, scheme: str
) -> None:
    stand_in, url = control
    page = open_page(f"{url}/#token=read-token", width=width, scheme=scheme)
    expect(page.locator("#offload-hint")).to_be_visible()
    expect(page.locator("#misses")).to_be_hidden()
    stand_in.misses = make_misses(time.time())
    try:
        page.reload()
        expect(page.locator("#misses-best")).to_have_text("93%")
        reasons = page.locator("#misses-shares li").all_text_contents()
        assert [one.rstrip("0123456789.%") for one in reasons] == [
            "title not held there",
            "near capacity",
            "player's own choice",
        ]
        expect(page.locator("#misses-note")).to_contain_text("in sessions of 2 steering nodes, explained")
        expect(
            page.locator("#misses-plot").get_by_role("img", name="that the best appliances did not serve")
        ).to_be_visible()
        rows = page.locator("#misses-rows tbody tr")
        expect(rows).to_have_count(5)
        assert rows.first.locator("td").all_text_contents() == ["fra", "big-buck-bunny", "near capacity", "1.7 TiB"]
        expect(rows.last.locator("td").first).to_have_text("–")
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.evaluate(NAMELESS) == []
    finally:
        stand_in.misses = NO_MISSES


NAMELESS = """() => [...document.querySelectorAll("button, a, input, select, canvas, video, svg, progress")]
  .filter((one) => one.checkVisibility() && !one.closest("[aria-hidden=true], [role=img][aria-label]"))
  .filter((one) => !(one.ariaLabel || one.textContent.trim() || one.labels?.length || one.title || one.id === "video"))
  .map((one) => one.outerHTML.slice(0, 120))"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_all_views_without_sideways_scrolling(
    control: tuple[StandInControl, str], open_page: Callable[..., Page], scheme: str
) -> None:
    page = open_page(f"{control[1]}/#token=operate-token", width=360, height=740, scheme=scheme)
    expect(page.locator("#live-words")).to_have_text("Live")
    for view in ("#/", "#/titles", "#/events", "#/appliance/fra-2"):
        page.evaluate("(view) => { location.hash = view; }", view)
        page.wait_for_timeout(150)
        assert page.evaluate("document.documentElement.scrollWidth") == 360, view
        wide = (
            "[...document.querySelectorAll('dialog[open] *')].filter((one) => one.getBoundingClientRect().right > 361)"
        )
        assert page.evaluate(f"{wide}.length") == 0, view
        assert page.evaluate(NAMELESS) == [], view
    page.goto(f"{control[1]}/player?title=sintel")
    expect(page.locator("#choices")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert page.evaluate(NAMELESS) == []


def test_the_theme_can_be_turned_and_stays(control: tuple[StandInControl, str], open_page: Callable[..., Page]) -> None:
    page = open_page(f"{control[1]}/#token=read-token")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.get_by_role("button", name="Switch to dark theme").click()
    assert page.evaluate(ground) != light
    page.reload()
    expect(page.get_by_role("button", name="Switch to light theme")).to_be_visible()
    assert page.evaluate(ground) != light


def test_numbers_and_runs_are_right(control: tuple[StandInControl, str], open_page: Callable[..., Page]) -> None:
    page = open_page(f"{control[1]}/#token=read-token")
    shown = page.evaluate("""async () => {
      const format = await import("/static/js/format.js");
      const { runs } = await import("/static/js/player/strip.js");
      const { merged } = await import("/static/js/events.js");
      const { servedBy } = await import("/static/js/player/record.js");
      return {
        bytes: [0, 1536, 3 * 2 ** 40].map(format.showBytes),
        rates: [0, 2500000, 7.26e9, null].map(format.showBps),
        ratios: [0, 0.9999, 1, NaN].map(format.showRatio),
        ages: [4.2, 65, 12000, 200000].map(format.showAge),
        times: [4.2, 65, 12000, 200000].map(format.showDuration),
        runs: runs([[0, 4, "a"], [4, 8, "a"], [8, 12, "b"], [2, 4, "c"]]
          .map(([startS, endS, pathway]) => ({ startS, endS, pathway })))
          .map((one) => `${one.pathway} ${one.startS}-${one.endS}`),
        merged: merged([{event_id: 1}, {event_id: 3}], [{event_id: 2}, {event_id: 3}]).map((one) => one.event_id),
        served: [{cacheStatus: "edge-1; hit", pathway: "b"}, {cacheStatus: "", pathway: "b"}, {}].map(servedBy),
      };
    }""")
    assert shown == {
        "bytes": ["0 B", "1.5 KiB", "3.0 TiB"],
        "rates": ["0 b/s", "2.5 Mb/s", "7.3 Gb/s", "–"],
        "ratios": ["0%", "99%", "100%", "–"],
        "ages": ["4 s ago", "1 min ago", "3 h ago", "2 d ago"],
        "times": ["4 s", "1 min 05 s", "3 h 20 min", "2 d 7 h"],
        "runs": ["a 0-2", "c 2-4", "a 4-8", "b 8-12"],
        "merged": [3, 2, 1],
        "served": ["edge-1", "b", ""],
    }
