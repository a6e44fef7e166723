"""The demo's switch: kill or restart an appliance, for the player page's button. Loopback only, guarded by a token."""

import hmac
import json
import re
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from headrace.base.errors import HeadraceError

_PATH = re.compile(r"/(kill|restart)/([a-z0-9-]{1,63})")


class Switch:
    """A small HTTP server in a thread: POST /kill/<appliance> and POST /restart/<appliance>."""

    def __init__(self, actions: Mapping[str, Callable[[str], None]], *, token: str, page_origin: str) -> None:
        class Handler(BaseHTTPRequestHandler):
            timeout = 5

            def do_OPTIONS(self) -> None:
                self._answer(204, {})

            def do_POST(self) -> None:
                match = _PATH.fullmatch(self.path)
                given = self.headers.get("authorization", "").removeprefix("Bearer ")
                if not hmac.compare_digest(given.encode(), token.encode()):
                    self._answer(401, {"detail": "the demo's token is missing or wrong"})
                elif match is None:
                    self._answer(404, {"detail": "POST /kill/<appliance> or /restart/<appliance>"})
                else:
                    self._act(match[1], match[2])

            def _act(self, verb: str, appliance: str) -> None:
                try:
                    actions[verb](appliance)
                except HeadraceError as error:
                    self._answer(409, {"detail": str(error)})
                else:
                    self._answer(200, {"done": verb, "appliance": appliance})

            def _answer(self, status: int, body: dict[str, str]) -> None:
                self.send_response(status)
                self.send_header("access-control-allow-origin", page_origin)
                self.send_header("access-control-allow-headers", "authorization")
                self.send_header("access-control-allow-methods", "POST")
                self.send_header("content-type", "application/json")
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing: the demo's screen is for people."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, name="switch", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """End the server and its thread."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)
