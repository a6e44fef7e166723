"""The mounted pages: what is served, under which headers, and that scripts and styles keep to the rules."""

import re

import httpx
import pytest
from starlette.applications import Starlette

from headrace.web import pages


def client(app: Starlette) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://control.example")


@pytest.fixture
def app() -> Starlette:
    application = Starlette()
    pages.mount(application, demo_url="http://127.0.0.1:9000/", steering_urls=("http://steer.example:8500",))
    return application


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/player", "text/html; charset=utf-8"),
        ("/ui.json", "application/json"),
        ("/static/style.css", "text/css; charset=utf-8"),
        ("/static/js/main.js", "text/javascript; charset=utf-8"),
        ("/static/icons.svg", "image/svg+xml"),
    ],
)
async def test_what_is_served_comes_with_the_security_headers(app: Starlette, path: str, kind: str) -> None:
    async with client(app) as browser:
        answer = await browser.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"].replace("application/javascript", "text/javascript") == kind
    assert answer.headers["content-security-policy"] == pages.CONTENT_SECURITY_POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-cache"


async def test_an_unchanged_file_is_not_sent_again(app: Starlette) -> None:
    async with client(app) as browser:
        first = await browser.get("/static/style.css")
        again = await browser.get("/static/style.css", headers={"if-none-match": first.headers["etag"]})
    assert again.status_code == 304


@pytest.mark.parametrize("path", ["/static/../pages.py", "/static/%2e%2e/pages.py", "/static/nothing.js", "/static/"])
async def test_nothing_else_is_served(app: Starlette, path: str) -> None:
    async with client(app) as browser:
        answer = await browser.get(path)
    assert answer.status_code == 404


async def test_the_pages_learn_the_settings(app: Starlette) -> None:
    async with client(app) as browser:
        answer = await browser.get("/ui.json")
    assert answer.json() == {"demo_url": "http://127.0.0.1:9000", "steering_urls": ["http://steer.example:8500"]}


def test_the_policy_allows_no_inline_script_and_no_stranger() -> None:
    policy = dict(part.split(" ", 1) for part in pages.CONTENT_SECURITY_POLICY.split("; "))
    assert policy["default-src"] == "'self'"
    assert "script-src" not in policy
    assert "unsafe" not in pages.CONTENT_SECURITY_POLICY


def own_files(*suffixes: str) -> dict[str, str]:
    """Our files, without the vendor's."""
    folder = pages.static_folder()
    found = {str(file.relative_to(folder)): file.read_text() for file in folder.rglob("*") if file.suffix in suffixes}
    return {name: text for name, text in found.items() if not name.startswith("vendor/")}


def test_pages_hold_no_inline_script_style_or_foreign_address() -> None:
    for name, text in own_files(".html").items():
        assert not re.search(r"<script(?![^>]*\ssrc=)", text), f"{name} has an inline script"
        assert not re.search(r"\son[a-z]+=|\sstyle=|<style", text), f"{name} has an inline handler or style"
        assert not re.search(r"(?:src|href)=\"(?:https?:)?//", text), f"{name} asks a stranger"
        assert '<html lang="en">' in text


def test_scripts_insert_text_only() -> None:
    forbidden = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|DOMParser")
    for name, text in own_files(".js").items():
        assert not forbidden.search(text), f"{name} reads HTML or code from data"


def test_scripts_import_only_what_is_there() -> None:
    known = set(own_files(".js"))
    for name, text in own_files(".js").items():
        for target in re.findall(r"from \"/static/([^\"]+)\"", text):
            assert target in known, f"{name} imports {target}, which is not there"


def test_icons_that_are_used_exist() -> None:
    icons = set(re.findall(r'<symbol id="([a-z]+)"', (pages.static_folder() / "icons.svg").read_text()))
    text = "\n".join(own_files(".html", ".js").values())
    named = re.findall(r"icons\.svg#([a-z]+)", text) + re.findall(r"icon: \"([a-z]+)\"", text)
    used = set(named + re.findall(r"\bicon\(\"([a-z]+)\"", text))
    assert used
    assert used <= icons
