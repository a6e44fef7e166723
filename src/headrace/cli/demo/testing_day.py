"""The demo's network lives days: nights in which it fills, evenings of sessions. For tests; needs root for small disks.

A day lasts as long as its fills and its sessions do. Nothing pretends to be another time but two settings: the sites'
fill window is moved to the minutes that are night, and the forecast is made as of the end of the hour that runs.
"""

import json
import math
import re
import subprocess
from collections import Counter
from collections.abc import Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from headrace.base.clock import SystemClock
from headrace.base.ids import TitleId
from headrace.base.rng import Rng
from headrace.cli.demo.layout import SITES, Layout, appliances, site_of
from headrace.cli.demo.network import Network, headrace_command
from headrace.cli.demo.player import CheckingPlayer
from headrace.origin.testing import run_ffmpeg
from headrace.telemetry.access_log import INDEX
from headrace.wire.operator import FleetView

SMALL = ("metro-1", "metro-2", "campus-1")
"""Appliances that hold a part of the catalogue; those of the exchange hold all of it."""
CLIENTS = {"metro": "127.0.2.7", "campus": "127.0.3.7"}
"""The client of each site that has small appliances; its network is the site's prefix."""
_SLOW_S = 120.0
_QUIET_S = 4.0
_VIDEO_S = 5
_LARGE_BYTES = 512 << 20
_RESERVE_RATIO = 0.25
"""Of these small disks: a file on its way is a good part of one, and room counts in steps of a part of the reserve."""
_FILL = "headrace-fill"
_COMBINED = re.compile(rf'" 20\d (\d+) "[^"]*" "{_FILL}')


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A night, and the evening after it; bytes."""

    day_filled: dict[str, int]
    """Given to fills since the last window, by who gave them: an appliance, or `origin`."""
    night_filled: dict[str, int]
    """The same in the window."""
    served: dict[str, int]
    """What players were given, by where: `own site`, `exchange`, `other`."""

    @property
    def own_ratio(self) -> float:
        """Share of the bytes that came from the client's own site."""
        return self.served.get("own site", 0) / max(1, sum(self.served.values()))


class DayLayout(Layout):
    """The demo's, with demand: logs are shipped within a second, and placement goes by a forecast."""

    @property
    def batches(self) -> Path:
        return self.folder / "batches"

    @property
    def totals(self) -> Path:
        return self.folder / "totals"

    @property
    def forecast(self) -> Path:
        return self.folder / "forecast"

    def control_toml(self, *, demo_url: str) -> str:
        return super().control_toml(demo_url=demo_url) + (
            f'[fleet]\nreserve_ratio = {_RESERVE_RATIO}\n[fleet.placement]\nforecast_file = "{self.forecast}"\n'
        )

    def agent_toml(self, appliance: str) -> str:
        """One disk, which may be small; what left the plan goes at once, as nobody plays any more by then."""
        disks = f'"{self.appliance_folder(appliance)}/disk1"'
        text = super().agent_toml(appliance).replace(f'{disks}, "{self.appliance_folder(appliance)}/disk2"', disks)
        text = text.replace("reserve_bytes = 10_000_000", "reserve_bytes = 0\ncheck_interval_s = 0.5")
        text = text.replace("[nginx]", "[nginx]\nkeep_open_s = 1")
        return text + (
            f'[ship]\nurl = "{self.batches}"\nbatch_s = 1.0\n[fill]\ndelete_grace_s = 1.0\nfiles_at_once = 1\n'
        )

    def publish_toml(self) -> str:
        return super().publish_toml().replace("veryfast", "ultrafast")


class DayNetwork(Network):
    """Days on the demo's processes."""

    layout: DayLayout

    def __init__(self, layout: DayLayout, *, titles: int, room_ratio: float, rng: Rng) -> None:
        super().__init__(layout, SystemClock())
        self.titles = tuple(TitleId(f"film-{number:02d}") for number in range(titles))
        self._room_ratio = room_ratio
        self._rng = rng
        self._popular = [rank**-1.1 for rank in range(1, titles + 1)]
        rng.shuffle(self._popular)
        self._disks: list[Path] = []
        self._nights = 0
        self._given: Counter[str] = Counter()

    def bring_up(self) -> None:
        """Everything runs, all titles are published and at the exchange; the small appliances have yet to come."""
        for folder in (self.layout.batches, self.layout.totals):
            folder.mkdir(parents=True, exist_ok=True)
        self.switch.start()
        self.start_control()
        self.start_origin()
        self.set_windows("always")
        for name in ("exchange-1", "exchange-2"):
            self._mount(self.layout.appliance_folder(name) / "disk1", _LARGE_BYTES)
            self.start_appliance(name)
        self.start_steering(0)
        sizes = [self._publish(title) for title in self.titles]
        self.wait_for_fleet("the exchange to be full", lambda view: _is_full(view, {"exchange-1"}), within_s=_SLOW_S)
        for name in SMALL:
            share = self._room_ratio / sum(site_of(one) == site_of(name) for one in SMALL)
            self._mount(
                self.layout.appliance_folder(name) / "disk1", math.ceil(sum(sizes) * share / (1 - _RESERVE_RATIO))
            )
            self.start_appliance(name)
        self.wait_for_steering(0)

    def live(self, sessions: int) -> Seen:
        """A night and the evening after it."""
        day_filled = self._filled()
        self.set_windows(_hours(self._clock.now_s() - 60))
        self._foretell()
        self._settle()
        night_filled = self._filled()
        self.set_windows(_hours(self._clock.now_s() + 8 * 3600))
        return Seen(night_filled=night_filled, day_filled=day_filled, served=self._evening(sessions))

    def set_windows(self, hours: str) -> None:
        """Have all sites fill at these hours, UTC."""
        for site in SITES:
            words = ["site", "add", site.site_id, "--kind", site.kind, "--region", "nl", "--zone", "UTC"]
            client = CLIENTS.get(site.site_id)
            words += ["--prefix", f"{client.rpartition('.')[0]}.0/24" if client else "0.0.0.0/0"]
            self.command(f"site-{site.site_id}", *words, "--fill-window", hours)

    def start_origin(self) -> None:
        """With an access log: what it gave to fills is counted."""
        layout, run = self.layout, self.layout.folder / "work"
        for folder in (layout.origin_folder, run):
            folder.mkdir(parents=True, exist_ok=True)
        config = run / "origin.toml"
        config.write_text(
            f'folder = "{layout.origin_folder}"\nlisten = ["{layout.origin_url.removeprefix("http://")}"]\n'
            f'access_log = "{run}/origin.log"\n'
        )
        self.processes.start("origin", headrace_command("origin", "--config", str(config)))

    def stop(self) -> None:
        super().stop()
        for disk in self._disks:
            subprocess.run(["umount", "--lazy", str(disk)], check=False, timeout=10)

    def _publish(self, title: TitleId) -> int:
        """Noise, so that every title is as large as its bit rate allows; gives back its size in bytes."""
        folder = self.layout.folder
        seed = self._rng.randrange(1_000_000)
        picture = f"testsrc2=s=320x240:r=25:d={_VIDEO_S},noise=alls=80:allf=t:all_seed={seed}"
        run_ffmpeg("-f", "lavfi", "-i", picture, "-c:v", "libx264", "-preset", "ultrafast", "one.mp4", folder=folder)
        config = folder / "publish.toml"
        config.write_text(self.layout.publish_toml())
        self.command(title, "publish", str(folder / "one.mp4"), "--title", title, "--config", str(config), "--json")
        shown = json.loads(self.command(title, "title", "show", title, "--json"))
        return int(shown["size_bytes"])

    def _mount(self, disk: Path, size_bytes: int) -> None:
        disk.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(disk)], check=True, timeout=10)
        self._disks.append(disk)

    def _foretell(self) -> None:
        """Count what was shipped and foretell, as of the end of the running hour; the first night knows nothing."""
        self._nights += 1
        if self._nights == 1:
            return
        self._clock.block(3.0)  # the last lines: nginx writes each second, the agent ships each second
        totals = ("--totals", str(self.layout.totals))
        self.command("count", "demand", "count", "--batches", str(self.layout.batches), *totals)
        hour_s = math.ceil(self._clock.now_s() / 3600) * 3600 + self._nights  # each forecast is another one's successor
        at = ("--forecast", str(self.layout.forecast), "--at", str(hour_s))
        self.command("forecast", "plan", "forecast", *totals, *at)

    def _settle(self) -> None:
        """Until plans have stopped changing and everything that they name is there."""
        since_s, last = self._clock.monotonic_s(), ""

        def is_still(view: FleetView) -> bool:
            nonlocal since_s, last
            now = str([(one.appliance.appliance_id, one.plan_count, one.holdings_count) for one in view.appliances])
            if now != last or not _is_full(view, frozenset(appliances())):
                since_s, last = self._clock.monotonic_s(), now
            return self._clock.monotonic_s() - since_s > _QUIET_S

        self.wait_for_fleet("the night's fills to end", is_still, within_s=_SLOW_S)

    def _evening(self, sessions: int) -> dict[str, int]:
        """Clients of both sites play titles by their popularity."""
        served: Counter[str] = Counter()
        sites = sorted(CLIENTS)
        asked = [(self._rng.choice(sites), one) for one in self._rng.choices(self.titles, self._popular, k=sessions)]

        def play(one: tuple[str, TitleId]) -> Counter[str]:
            site, title = one
            with CheckingPlayer(self.layout.steer_urls[0], own=CLIENTS[site], timeout_s=10.0) as player:
                session = player.play_hls(title)
            return Counter({_place(name, site): size for name, size in session.bytes_by.items()})

        with ThreadPoolExecutor(3) as pool:
            for found in pool.map(play, asked):
                served += found
        return dict(served)

    def _filled(self) -> dict[str, int]:
        """Bytes given to fills since the last look, by who gave them, from the access logs of nginx."""
        self._clock.block(2.0)  # a log is written each second
        given: Counter[str] = Counter()
        for name in appliances():
            for log in (self.layout.appliance_folder(name) / "state" / "nginx").glob("access*"):
                for line in log.read_text().splitlines():
                    fields = line.split("\t")
                    if fields[INDEX["user_agent"]].startswith(_FILL):
                        given[name] += int(fields[INDEX["body_bytes"]])
        for found in _COMBINED.finditer((self.layout.folder / "work" / "origin.log").read_text()):
            given["origin"] += int(found[1])
        new = given - self._given
        self._given = given
        return dict(new)


def _hours(begins_s: float) -> str:
    """A window of half an hour."""
    begins = datetime.fromtimestamp(begins_s, UTC)
    return f"{begins:%H:%M}-{begins + timedelta(minutes=30):%H:%M}"


def _place(appliance: str, home: str) -> str:
    site = site_of(appliance)
    return "own site" if site == home else site if site == "exchange" else "other"


def _is_full(view: FleetView, names: Set[str]) -> bool:
    full = {one.appliance.appliance_id for one in view.appliances if 0 < one.plan_count <= one.holdings_count}
    return names <= full
