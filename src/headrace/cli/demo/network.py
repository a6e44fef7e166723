"""Brings the demo's network up on this machine, part by part, and takes it down again.

Each part is the real command with a configuration file, as it would run on a machine of its own.
"""

import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx

from headrace.base.clock import Clock
from headrace.cli.demo.layout import SITES, TITLE, Layout, appliances, site_of
from headrace.cli.demo.processes import DemoError, Processes
from headrace.cli.demo.switch import Switch
from headrace.fleet.model import AdminState
from headrace.wire.codec import decode
from headrace.wire.errors import MalformedError
from headrace.wire.files import write_atomic
from headrace.wire.operator import FleetView

_PORT_STEP = 1_000
_USED_OFFSETS = (0, 100, 101, 200)


def free_port_base(first: int) -> int:
    """The first base at or above `first`, in steps of 1000, at which nobody listens on the demo's ports.

    Raises:
        DemoError: none up to port 64000.
    """
    for base in range(first, 64_000, _PORT_STEP):
        if not any(_is_used(base + offset) for offset in _USED_OFFSETS):
            return base
    raise DemoError(f"no free ports for the demo from {first} on; name another start with --port")


def headrace_command(*words: str) -> list[str]:
    """The command line of this same installation."""
    return [sys.executable, "-m", "headrace.cli.main", *words]


class Network:
    """The running demo."""

    def __init__(self, layout: Layout, clock: Clock) -> None:
        self.layout = layout
        self.processes = Processes(layout.folder / "logs", clock)
        self._clock = clock
        self._http = httpx.Client(timeout=3.0, trust_env=False)
        self.switch_token = secrets.token_urlsafe(24)
        actions = {"kill": self.kill_appliance, "restart": self.start_appliance}
        self.switch = Switch(actions, token=self.switch_token, page_origin=layout.control_url)

    # bringing up, in order

    def start_control(self) -> None:
        """Make keys and tokens at the first run, then start the control plane."""
        layout = self.layout
        if not layout.admin_token_file.exists():
            self.command("init", "init", str(layout.control_folder), "--host", "127.0.0.1")
        write_atomic(layout.control_toml_file, layout.control_toml(demo_url=self.switch.url).encode(), mode=0o600)
        self.processes.start("control", headrace_command("control", "--config", str(layout.control_toml_file)))
        url = f"{layout.control_url}/healthz"
        self.processes.wait_until("control to answer", lambda: self._answers(url), names=("control",), within_s=60)

    def start_origin(self) -> None:
        """Serve the origin folder with nginx."""
        layout = self.layout
        layout.origin_folder.mkdir(parents=True, exist_ok=True)
        listen = layout.origin_url.removeprefix("http://")
        words = ("origin", "--folder", str(layout.origin_folder), "--listen", listen)
        self.processes.start("origin", headrace_command(*words))
        self.processes.wait_until(
            "origin to answer", lambda: self._answers(layout.origin_url), names=("origin",), within_s=30
        )

    def declare_sites(self) -> None:
        """Put the sites into the control plane; a repeat changes nothing."""
        for site in SITES:
            words = ["site", "add", site.site_id, "--name", site.name, "--kind", site.kind]
            words += ["--latitude", str(site.latitude_deg), "--longitude", str(site.longitude_deg)]
            words += [word for prefix in site.prefixes for word in ("--prefix", prefix)]
            self.command(f"site-{site.site_id}", *words)

    def start_appliance(self, appliance: str) -> None:
        """Enrol an appliance at its first start, then run its agent.

        Raises:
            DemoError: no such appliance, or it runs already.
        """
        if appliance not in appliances():
            raise DemoError(f"no appliance {appliance}: there are {', '.join(appliances())}")
        if self.processes.is_running(appliance):
            raise DemoError(f"{appliance} runs already")
        folder = self.layout.appliance_folder(appliance)
        for disk in ("disk1", "disk2", "state"):
            (folder / disk).mkdir(parents=True, exist_ok=True)
        if not (folder / "enrolled").exists():
            words = ("appliance", "token", "--site", site_of(appliance), "--appliance", appliance)
            write_atomic(folder / "join.token", self.command(f"token-{appliance}", *words).strip().encode(), mode=0o600)
            write_atomic(folder / "enrolled", b"")
        config = folder / "agent.toml"
        write_atomic(config, self.layout.agent_toml(appliance).encode())
        self.processes.start(appliance, headrace_command("agent", "--config", str(config)))

    def start_steering(self, index: int) -> None:
        """Run one of the two steering nodes."""
        name = f"steer-{index + 1}"
        config = self.layout.folder / name / "steer.toml"
        write_atomic(config, self.layout.steer_toml(index).encode())
        self.processes.start(name, headrace_command("steer", "--config", str(config)))

    def wait_for_steering(self, index: int, *, within_s: float = 30) -> float:
        """Wait until a steering node answers from a snapshot."""
        url = f"{self.layout.steer_urls[index]}/healthz"
        name = f"steer-{index + 1}"
        return self.processes.wait_until(
            f"{name} to answer", lambda: self._answers(url), names=(name,), within_s=within_s
        )

    def publish(self, video: Path, *, show: bool) -> None:
        """Publish the demo's title with the real command; its progress bar is shown to people."""
        config = self.layout.folder / "publish.toml"
        write_atomic(config, self.layout.publish_toml().encode())
        command = headrace_command("publish", str(video), "--title", TITLE, "--name", "Headrace demo", "--replace")
        command += ["--config", str(config)]
        done = subprocess.run(
            command, env={**os.environ, **self._operator()}, timeout=3600, check=False, capture_output=not show
        )
        if done.returncode != 0:
            said = (done.stderr or b"").decode(errors="replace")[-2000:]
            raise DemoError(f"publish ended with exit code {done.returncode}\n{said}")

    # watching

    def fleet(self) -> FleetView | None:
        """What the control plane says of the fleet; None while it does not answer."""
        try:
            token = self.layout.admin_token_file.read_text().strip()
            headers = {"authorization": f"Bearer {token}"}
            response = self._http.get(f"{self.layout.control_url}/v1/fleet", headers=headers)
            return decode(FleetView, response.content) if response.status_code == 200 else None
        except (httpx.HTTPError, MalformedError):
            return None

    def wait_for_fleet(self, what: str, is_so: Callable[[FleetView], bool], *, within_s: float) -> float:
        """Wait until the fleet is so; gives back the seconds it took."""

        def check() -> bool:
            view = self.fleet()
            return view is not None and is_so(view)

        return self.processes.wait_until(what, check, names=("control",), within_s=within_s)

    # operating, hurting and ending

    def set_admin_state(self, appliance: str, state: AdminState) -> None:
        """Enable, drain or disable an appliance with the operator's command."""
        verb = {AdminState.ENABLED: "enable", AdminState.DRAINING: "drain", AdminState.DISABLED: "disable"}[state]
        self.command(f"{verb}-{appliance}", "appliance", verb, appliance, "--reason", "demo")

    def kill_appliance(self, appliance: str) -> None:
        """SIGKILL to the agent and to its nginx: what a power cut is to them."""
        if appliance not in appliances():
            raise DemoError(f"no appliance {appliance}: there are {', '.join(appliances())}")
        self.processes.kill(appliance)
        for group in _groups_below(self.layout.appliance_folder(appliance)):
            try:
                os.killpg(group, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def stop(self) -> None:
        """End every process, politely first; an nginx whose agent was killed goes too."""
        self.switch.stop()
        self.processes.stop()
        for appliance in appliances():
            self.kill_appliance(appliance)
        self._http.close()

    def _operator(self) -> dict[str, str]:
        return {
            "HEADRACE_CONTROL": self.layout.control_url,
            "HEADRACE_TOKEN_FILE": str(self.layout.admin_token_file),
        }

    def command(self, name: str, *words: str) -> str:
        """What an operator's command prints; `name` is for the message of a failure.

        Raises:
            DemoError: it failed; holds what it said.
        """
        done = subprocess.run(
            headrace_command(*words),
            env={**os.environ, **self._operator()},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode != 0:
            raise DemoError(f"{name}: `headrace {' '.join(words)}` said: {done.stderr.strip()[-1500:]}")
        return done.stdout

    def _answers(self, url: str) -> bool:
        try:
            return self._http.get(url).status_code < 500
        except httpx.HTTPError:
            return False


def _is_used(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))  # noqa: S104  only a test whether anybody holds the port
        except OSError:
            return True
    return False


def _groups_below(folder: Path) -> set[int]:
    """Process groups of the commands that were started with `folder` in their command line, never our own."""
    groups = set()
    needle = str(folder).encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if needle in (entry / "cmdline").read_bytes():
                groups.add(os.getpgid(int(entry.name)))
        except (OSError, ProcessLookupError):
            continue
    return groups - {os.getpgid(0)}
