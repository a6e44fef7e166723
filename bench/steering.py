"""Answers per second and latency of one core: the steering service beside bare servers that answer a constant.

    .venv/bin/python bench/steering.py --rounds 7 --duration 4      # needs wrk (apt-get install wrk) and two free cores

Server on one core, wrk on the other. All servers run in one go and take turns in a new order each round, with the same
requests: addresses at random over all prefixes (in X-Forwarded-For, from a trusted proxy), titles by Zipf's law, so
that nothing is served from one hot entry; running sessions ask with what they were given at their begin; gzip is
accepted, as by every browser. `moving` rows get a new snapshot each second, as of a fleet that reports its load. A
warm-up comes first, as most answers of a running node are finished ones; its rate is printed as `cold`.

Rows `at 70 %` are of 256 clients that pause between their requests, at random, so that they ask 0.7 times as often as
the row's server answered in its last full turn: what their p99 says is what players see on a loaded node.

Besides answers per second the table gives answers per CPU second of the server, which says more on a busy machine.
Ratios are to granian's constant of the same round, their median over rounds; `own` is to the constant of Headrace's
own server. Raw samples lie beside the summary.
"""

import argparse
import hashlib
import json
import os
import platform
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path

import httpx

from headrace.base.rng import make_rng
from headrace.steering.model import SteeringSnapshot
from headrace.steering.testing import make_appliance, make_site, make_snapshot, make_title, numbers_of
from headrace.wire.snapshot import pack_snapshot
from steering_servers import CONSTANTS, OWN

BIN = Path(sys.executable).parent
SITES, APPLIANCES, TITLES, PREFIXES = 16, 96, 1000, 4000
PEERS = Path(__file__).parents[1] / ".build" / "bench-peers"
"""Granian, which nothing else here needs."""
REFERENCE = "granian RSGI, constant"
GOAL, GOAL_ROWS = 0.7, ("headrace steering manifest", "headrace master.m3u8", "headrace manifest.mpd")
OWN_CONSTANT = "headrace's server, constant"
LOAD_RATIO, LOAD_CLIENTS, GOAL_P99_MS = 0.7, 256, 5.0

LOAD = """
math.randomseed(tonumber(os.getenv("BENCH_SEED")))
local sessions = {}
for line in io.lines(os.getenv("BENCH_SESSIONS")) do sessions[#sessions + 1] = line end
local weights, total = {}, 0
for i = 1, %(titles)d do total = total + 1 / i; weights[i] = total end
local function title()
  local wanted, low, high = math.random() * total, 1, %(titles)d
  while low < high do
    local middle = math.floor((low + high) / 2)
    if weights[middle] < wanted then low = middle + 1 else high = middle end
  end
  return low - 1
end
local paths = {
  master = function(t) return "/v1/titles/t" .. t .. "/master.m3u8" end,
  mpd = function(t) return "/v1/titles/t" .. t .. "/manifest.mpd" end,
  steering = function(t, network)
    local given = sessions[network * %(titles)d + t + 1]
    return given .. "&_HLS_throughput=" .. math.random(400000, 9000000)
  end,
}
local path = paths[os.getenv("BENCH_KIND")]
wrk.headers["Accept-Encoding"] = "gzip, deflate, br"
request = function()
  local network, low, host = math.random(0, 15), math.random(0, 255), math.random(254)
  wrk.headers["X-Forwarded-For"] = string.format("10.%%d.%%d.%%d", network, low, host)
  return wrk.format("GET", path(title(), network))
end
local pause_ms = tonumber(os.getenv("BENCH_PAUSE_MS"))
if pause_ms > 0 then
  delay = function() return math.floor(-math.log(1 - math.random()) * pause_ms + 0.5) end
end
"""


@dataclass(frozen=True)
class Row:
    """One thing measured: a server with a kind of request."""

    name: str
    port: int
    kind: str
    is_moving: bool = False
    loads: str = ""
    """The row whose rate this one has `LOAD_RATIO` of; '' for as fast as it goes."""


@dataclass(frozen=True)
class Sample:
    """What one turn gave."""

    row: str
    round_no: int
    answers_per_s: float
    answers_per_cpu_s: float
    p50_ms: float
    p99_ms: float
    errors: int


class Control:
    """Hands out the snapshot; a new version each second while it is moving."""

    def __init__(self, snapshot: SteeringSnapshot) -> None:
        self.snapshot = snapshot
        self.is_moving = False
        self.body = pack_snapshot(snapshot)
        self.port = free_port()
        self._rng = make_rng(7)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if outer.is_moving:
                    outer.move()
                tag = f'"{hashlib.sha256(outer.body).hexdigest()[:16]}"'
                is_same = self.headers.get("if-none-match") == tag
                self.send_response(304 if is_same else 200)
                self.send_header("etag", tag)
                self.send_header("content-length", "0" if is_same else str(len(outer.body)))
                self.end_headers()
                if not is_same:
                    self.wfile.write(outer.body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()

    def move(self) -> None:
        fleet = tuple(
            replace(one, tx_bps=self._rng.uniform(0, 0.8) * one.capacity_bps) for one in self.snapshot.appliances
        )
        self.snapshot = replace(self.snapshot, version=self.snapshot.version + 1, appliances=fleet)
        self.body = pack_snapshot(self.snapshot)


def build_snapshot() -> SteeringSnapshot:
    titles = [make_title(f"t{number}", subtitles=("fr",)) for number in range(TITLES)]
    held = numbers_of(titles)
    each = PREFIXES // SITES
    sites = [make_site(f"s{no}", *(f"10.{no}.{low}.0/24" for low in range(each)), "10.0.0.0/12") for no in range(SITES)]
    fleet = [
        make_appliance(f"a{no}", f"s{no % SITES}", held, content_url=f"http://10.200.0.{no + 1}:8080")
        for no in range(APPLIANCES)
    ]
    return make_snapshot(sites, fleet, titles, built_at_s=time.time())


@contextmanager
def running(command: list[str], port: int, core: int, folder: Path) -> Iterator[int]:
    """Start a server on one core; gives its process id."""
    with (folder / f"{port}.log").open("wb") as log:
        process = subprocess.Popen(
            ["taskset", "-c", str(core), *command],
            cwd=folder,
            stdout=log,
            stderr=log,
            env={**os.environ, "PYTHONPATH": f"{folder}:{PEERS}"},
        )
    try:
        wait_for(port, folder / f"{port}.log")
        yield process.pid
    finally:
        process.terminate()
        process.wait(15)


def wait_for(port: int, log: Path) -> None:
    for _ in range(300):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise SystemExit(f"a server did not start:\n{log.read_text(errors='replace')}")


def cpu_s(pid: int) -> float:
    """CPU seconds of a process and its living children."""
    total = 0
    pending = [pid]
    while pending:
        one = pending.pop()
        fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
        pending += [int(child) for child in Path(f"/proc/{one}/task/{one}/children").read_text().split()]
    return total / os.sysconf("SC_CLK_TCK")


def measure(
    row: Row, round_no: int, pid: int, options: argparse.Namespace, script: Path, full_per_s: float = 0.0
) -> Sample:
    """One turn; `full_per_s` is what a row that is loaded in part can do."""
    connections = LOAD_CLIENTS if row.loads else options.connections
    pause_ms = 1000 * connections / (LOAD_RATIO * full_per_s) if row.loads else 0.0
    before = cpu_s(pid)
    done = subprocess.run(
        ["taskset", "-c", str(options.client_core), "wrk", "-t1", f"-c{connections}",
         f"-d{options.duration}s", "--latency", "-s", str(script), f"http://127.0.0.1:{row.port}/"],
        capture_output=True, text=True, check=True, timeout=options.duration + 60,
        env={
            **os.environ,
            "BENCH_KIND": row.kind,
            "BENCH_SEED": str(round_no),
            "BENCH_PAUSE_MS": str(pause_ms),
            "BENCH_SESSIONS": str(script.with_name("sessions")),
        },
    )  # fmt: skip
    used_s = cpu_s(pid) - before
    text = done.stdout
    requests = int(re.search(r"(\d+) requests in", text)[1])  # type: ignore[index]
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    return Sample(
        row=row.name,
        round_no=round_no,
        answers_per_s=float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1]),  # type: ignore[index]
        answers_per_cpu_s=requests / used_s if used_s else 0.0,
        p50_ms=milliseconds(text, "50%"),
        p99_ms=milliseconds(text, "99%"),
        errors=int(failed[1]) if failed else 0,
    )


def milliseconds(text: str, share: str) -> float:
    value, unit = re.search(rf"{share}\s+([\d.]+)(us|ms|s)", text).groups()  # type: ignore[union-attr]
    return float(value) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[unit]


def start_all(stack: ExitStack, folder: Path, control: Control, core: int) -> tuple[list[Row], dict[int, int]]:
    """Start every server; gives the rows and the process id behind each port."""
    (folder / "constants.py").write_text(CONSTANTS)
    (folder / "token").write_text("bench")
    (folder / "own.py").write_text(OWN)
    granian = [sys.executable, "-m", "granian", "--no-ws", "--backlog", "4096", "--log-level", "error", "--interface"]
    uvicorn = [str(BIN / "uvicorn"), "--no-access-log", "--log-level", "error", "--loop", "uvloop", "--lifespan", "off"]
    port = {name: free_port() for name in ("rsgi", "large", "uvicorn", "starlette", "own", "ours", "full")}
    # Each playlist is a session. 96 appliances would be full within seconds, so sessions are small here; where they are
    # not, the fleet is full and most answers depend on the client's draw.
    for name, session_bps in (("ours", 1000.0), ("full", 5e6)):
        (folder / f"{name}.toml").write_text(
            f'[listen]\nport = {port[name]}\nworkers = 1\n[control]\nurls = ["http://127.0.0.1:{control.port}"]\n'
            f'token_file = "{folder / "token"}"\n[snapshot]\nfolder = "{folder / name}"\n'
            f'[clients]\ntrusted_proxies = ["127.0.0.1"]\n[load]\nsession_bps = {session_bps}\n'
        )
    commands = {
        "rsgi": [*granian, "rsgi", "--port", str(port["rsgi"]), "constants:rsgi"],
        "large": [*granian, "rsgi", "--port", str(port["large"]), "constants:large"],
        "uvicorn": [*uvicorn, "--http", "httptools", "--port", str(port["uvicorn"]), "constants:asgi"],
        "starlette": [*granian, "asginl", "--port", str(port["starlette"]), "constants:starlette"],
        "own": [sys.executable, str(folder / "own.py"), str(port["own"])],
        **{
            name: [str(BIN / "headrace"), "steer", "--config", str(folder / f"{name}.toml")]
            for name in ("ours", "full")
        },
    }
    pids = {
        port[name]: stack.enter_context(running(command, port[name], core, folder))
        for name, command in commands.items()
    }
    rows = [
        Row(REFERENCE, port["rsgi"], "steering"),
        Row("granian RSGI, constant of 1.7 kB", port["large"], "master"),
        Row("uvicorn ASGI, constant", port["uvicorn"], "steering"),
        Row("Starlette on granian, constant", port["starlette"], "steering"),
        Row(OWN_CONSTANT, port["own"], "steering"),
        Row("headrace steering manifest", port["ours"], "steering"),
        Row("headrace master.m3u8", port["ours"], "master"),
        Row("headrace manifest.mpd", port["ours"], "mpd"),
        Row("headrace steering manifest, moving", port["ours"], "steering", is_moving=True),
        Row("headrace master.m3u8, moving", port["ours"], "master", is_moving=True),
        Row("headrace master.m3u8, fleet full", port["full"], "master"),
        Row("headrace steering manifest, at 70 %", port["ours"], "steering", loads="headrace steering manifest"),
        Row("headrace master.m3u8, at 70 %", port["ours"], "master", loads="headrace master.m3u8"),
    ]
    for name in ("ours", "full"):
        wait_healthy(port[name])
    begin_sessions(port["ours"], folder / "sessions")
    return rows, pids


def begin_sessions(port: int, file: Path) -> None:
    """Begin a session of each title in each network; what their players ask later goes to a file, a line each."""
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client, file.open("w") as out:
        for network in range(SITES):
            for title in range(TITLES):
                path = f"/v1/titles/t{title}/master.m3u8"
                text = client.get(path, headers={"x-forwarded-for": f"10.{network}.0.1"}).text
                uri, current = re.search(r'SERVER-URI="\.\./\.\.([^"]+)",PATHWAY-ID="([^"]+)"', text).groups()  # type: ignore[union-attr]
                out.write(f"/v1{uri}&_HLS_pathway={current}\n")


def wait_healthy(port: int) -> None:
    for _ in range(100):
        if httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False).status_code == 200:
            return
        time.sleep(0.1)
    raise SystemExit("headrace steer got no snapshot")


def run(options: argparse.Namespace) -> list[Sample]:
    control = Control(build_snapshot())
    samples: list[Sample] = []
    full_per_s: dict[str, float] = {}
    rng = make_rng(options.seed)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-steering-")))
        script = folder / "load.lua"
        script.write_text(LOAD % {"titles": TITLES})
        rows, pids = start_all(stack, folder, control, options.server_core)
        warm_up = argparse.Namespace(**{**vars(options), "duration": options.warm_up})
        for row in rows:
            if not row.is_moving and not row.loads:
                cold = measure(row, 0, pids[row.port], warm_up, script)
                full_per_s[row.name] = cold.answers_per_s
                print(f"cold    {row.name:38} {cold.answers_per_s:9.0f}/s", file=sys.stderr)
        for round_no in range(1, options.rounds + 1):
            order = list(rows)
            rng.shuffle(order)
            for row in order:
                control.is_moving = row.is_moving
                sample = measure(row, round_no, pids[row.port], options, script, full_per_s.get(row.loads, 0.0))
                full_per_s[row.name] = sample.answers_per_s
                samples.append(sample)
                print(f"round {round_no} {row.name:38} {sample.answers_per_s:9.0f}/s", file=sys.stderr)
    return samples


def summary(samples: list[Sample]) -> list[dict[str, object]]:
    names = list(dict.fromkeys(one.row for one in sorted(samples, key=lambda one: one.row)))
    reference = {one.round_no: one for one in samples if one.row == REFERENCE}
    own_constant = {one.round_no: one for one in samples if one.row == OWN_CONSTANT}
    found: list[dict[str, object]] = []
    for name in names:
        own = [one for one in samples if one.row == name]

        def median(read: Callable[[Sample], float], own: list[Sample] = own) -> float:
            return statistics.median(read(one) for one in own)

        rates = sorted(one.answers_per_s for one in own)
        found.append(
            {
                "row": name,
                "answers_per_s": median(lambda one: one.answers_per_s),
                "spread_ratio": (rates[-1] - rates[0]) / 2 / statistics.median(rates),
                "answers_per_cpu_s": median(lambda one: one.answers_per_cpu_s),
                "p50_ms": median(lambda one: one.p50_ms),
                "p99_ms": median(lambda one: one.p99_ms),
                "ratio": median(lambda one: one.answers_per_s / reference[one.round_no].answers_per_s),
                "cpu_ratio": median(lambda one: one.answers_per_cpu_s / reference[one.round_no].answers_per_cpu_s),
                "own_cpu_ratio": median(
                    lambda one: one.answers_per_cpu_s / own_constant[one.round_no].answers_per_cpu_s
                ),
                "errors": sum(one.errors for one in own),
            }
        )
    return sorted(found, key=lambda row: -float(str(row["cpu_ratio"])))


def machine() -> dict[str, object]:
    cpu = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return {
        "cpu": cpu[1] if cpu else platform.machine(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in ("uvicorn", "starlette", "uvloop", "httptools")},
        "load_average": os.getloadavg(),
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round: to see that it works")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--duration", type=int, default=4, help="seconds of one turn")
    parser.add_argument("--warm-up", type=int, default=15, help="seconds of the first turn of each row")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--server-core", type=int, default=0)
    parser.add_argument("--client-core", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "steering.json")
    options = parser.parse_args()
    if not shutil.which("wrk"):
        print("wrk is not installed: apt-get install wrk", file=sys.stderr)
        return 2
    if options.quick:
        options.rounds, options.duration, options.warm_up = 1, 1, 2
    if not (PEERS / "granian").exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(PEERS), "granian==2.8.7"]
        subprocess.run(pip, check=True, timeout=120)
    before = machine()
    samples = run(options)
    rows = summary(samples)
    names = ("p50 ms", "p99 ms", "ratio", "CPU", "own")
    print(f"{'':38} {'answers/s':>10} {'±':>5} {'per CPU s':>10} {names[0]:>7} {names[1]:>7} ", end="")
    print(" ".join(f"{name:>6}" for name in names[2:]))
    for row in rows:
        print(
            f"{row['row']:38} {row['answers_per_s']:10.0f} {row['spread_ratio']:5.0%} {row['answers_per_cpu_s']:10.0f} "
            f"{row['p50_ms']:7.2f} {row['p99_ms']:7.2f} {row['ratio']:6.2f} {row['cpu_ratio']:6.2f} "
            f"{row['own_cpu_ratio']:6.2f}" + (f"  {row['errors']} errors" if row["errors"] else "")
        )
    settings = {key: value for key, value in vars(options).items() if key != "out"}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(
        json.dumps(
            {"machine": before, "options": settings, "summary": rows, "samples": [asdict(one) for one in samples]},
            indent=1,
        )
        + "\n"
    )
    missed = [row for row in rows if row["row"] in GOAL_ROWS and float(str(row["ratio"])) < GOAL]
    missed += [row for row in rows if str(row["row"]).endswith("70 %") and float(str(row["p99_ms"])) > GOAL_P99_MS]
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
