"""Control nodes as real processes with TLS, and what tests ask of them."""

import json
import re
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from headrace.base.clock import SystemClock
from headrace.base.ids import title_id
from headrace.control.testing import make_title
from headrace.wire.codec import encode
from headrace.wire.operator import TitleRegistration

_CLOCK = SystemClock()
HEADRACE = [sys.executable, "-c", "from headrace.cli.main import main; main()"]


@dataclass
class Node:
    """A running control node."""

    process: "subprocess.Popen[bytes]"
    url: str
    folder: Path
    log: Path

    @property
    def options(self) -> list[str]:
        ca = self.folder / "ca.pem"
        return ["--control", self.url, "--token-file", str(self.folder / "admin.token"), "--ca", str(ca)]

    def client(self, timeout_s: float = 20) -> httpx.Client:
        context = ssl.create_default_context(cafile=str(self.folder / "ca.pem"))
        headers = {"authorization": f"Bearer {(self.folder / 'admin.token').read_text().strip()}"}
        return httpx.Client(verify=context, base_url=self.url, headers=headers, timeout=timeout_s, trust_env=False)


@contextmanager
def running(
    folder: Path, *, name: str = "node", store: str = "sqlite:///headrace.db", tls: bool = True
) -> Iterator[Node]:
    """A control node on a free port, until the block ends."""
    config = folder / f"{name}.toml"
    keys = 'tls_certificate = "control.pem"\ntls_key = "control.key"\n'
    config.write_text(f'[listen]\nhost = "127.0.0.1"\nport = 0\n{keys}[store]\nurl = "{store}"\n')
    log = folder / f"{name}.log"
    with log.open("wb") as file:
        process = subprocess.Popen([*HEADRACE, "control", "--config", str(config)], stderr=file, stdout=file)
    try:
        port = wait_for_port(log, is_running=lambda: process.poll() is None)
        yield Node(process, f"https://127.0.0.1:{port}", folder, log)
    finally:
        process.kill()
        process.wait(10)


def wait_for_port(log: Path, *, is_running: Callable[[], bool] = lambda: True) -> int:
    """The port that a control node listens on, as its log tells."""
    ends_s = _CLOCK.monotonic_s() + 60
    while _CLOCK.monotonic_s() < ends_s:
        found = re.search(r"listening host=\S+ port=(\d+)", log.read_text())
        if found:
            return int(found[1])
        if not is_running():
            break
        _CLOCK.block(0.05)
    raise AssertionError(log.read_text())


def register(client: httpx.Client, name: str, *, salt: int = 0) -> httpx.Response:
    """Register a new title; what control says."""
    body = encode(TitleRegistration(title=make_title(name, renditions=3, salt=salt), expected_version=0))
    return client.put(f"/v1/titles/{title_id(name)}", content=body, headers={"content-type": "application/json"})


def events_of(stream: httpx.Response) -> Iterator[tuple[str, Any]]:
    """Kind and value of each message of a stream."""
    kind = ""
    for line in stream.iter_lines():
        if line.startswith("event: "):
            kind = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield kind, json.loads(line.removeprefix("data: "))
