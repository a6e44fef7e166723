"""The pages as static files on the control plane's application: where they lie, their routes, their security headers.

Decides no content and reads no store: the scripts in the pages ask the API as any client does. Input is the folder
`static` of this package and the two settings that the pages need to know.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from headrace.base.logs import event
from headrace.wire.codec import encode

_log = logging.getLogger(__name__)

PAGES = {"/": "index.html", "/player": "player.html"}
"""Path of each page and its file."""

VENDOR_FILES = ("hls.min.js", "dash.all.min.js", "uPlot.iife.min.js", "uPlot.min.css")
"""What `scripts/vendor` brings from npm."""

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'self'",
        # Steering nodes and appliances are other origins, which the control plane cannot list: they come and go.
        "connect-src 'self' http: https:",
        # Both players feed the video element through Media Source Extensions, which is a blob URL; hls.js gives a
        # subtitle track an empty data URL.
        "media-src 'self' blob: data: http: https:",
        "img-src 'self' data:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)

_HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    # The files have no version in their names: browsers ask each time, and get 304 for what they have.
    "cache-control": "no-cache",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class UiSettings:
    """GET /ui.json: what the pages cannot know by themselves."""

    demo_url: str
    """Base URL of the demo's helper that kills and restarts appliances; '' hides the buttons."""
    steering_urls: tuple[str, ...]
    """Steering nodes that the player page may start from."""


def static_folder() -> Path:
    """Where the pages, scripts, styles and icons lie."""
    return Path(__file__).parent / "static"


def missing_vendor_files() -> tuple[str, ...]:
    """Player and plot scripts that `scripts/vendor` has not brought yet."""
    return tuple(name for name in VENDOR_FILES if not (static_folder() / "vendor" / name).is_file())


def mount(app: Starlette, *, demo_url: str = "", steering_urls: tuple[str, ...] = ()) -> None:
    """Add the pages to `app`: `/`, `/player`, `/ui.json` and `/static/...`. All are public; the API behind is not."""
    missing = missing_vendor_files()
    if missing:
        event(_log, "web_scripts_missing", level=logging.WARNING, files=",".join(missing), mend="run scripts/vendor")
    settings = encode(UiSettings(demo_url=demo_url.rstrip("/"), steering_urls=steering_urls))

    async def ui(_request: Request) -> Response:
        return Response(settings, media_type="application/json", headers=_HEADERS)

    app.add_route("/ui.json", ui, include_in_schema=False)
    for path, name in PAGES.items():
        app.add_route(path, _page(static_folder() / name), include_in_schema=False)
    app.mount("/static", _StaticFiles(directory=static_folder(), check_dir=False), name="static")


def _page(file: Path) -> Callable[[Request], Awaitable[Response]]:
    async def page(_request: Request) -> Response:
        return FileResponse(file, media_type="text/html; charset=utf-8", headers=_HEADERS)

    return page


class _StaticFiles(StaticFiles):
    """Static files with the pages' security headers."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(_HEADERS)
        return response
