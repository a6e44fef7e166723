"""Keep one nginx serving what the settings say, whatever happens to it or to us.

A new configuration is written beside the old one, tested, swapped in and loaded by a reload, which drops no connection;
it is not kept when nginx refuses it. A server that dies is started again at once, then with growing pauses. A server
that outlived a killed agent is taken over; workers that outlived their master are told to finish what they send, and a
new server takes the address meanwhile. Ending or losing the agent leaves the server alive; only `stop` ends it.
"""

import asyncio
import contextlib
import dataclasses
import grp
import hashlib
import logging
import os
import pwd
import resource
import signal
import ssl
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

from headrace.appliance.adapters.nginx_binary import NginxBinary, NginxError, first_fault
from headrace.appliance.adapters.nginx_processes import (
    NginxProcess,
    Usage,
    find_family,
    find_processes,
    look_at,
    read_usage,
)
from headrace.appliance.adapters.occupants import find_occupant
from headrace.appliance.errors import ApplianceError
from headrace.appliance.nginx_conf import NginxSettings, render_nginx_conf, split_address
from headrace.base.clock import Clock
from headrace.base.logs import event
from headrace.base.rng import Rng, backoff_s
from headrace.fleet.model import NginxReport
from headrace.wire.files import write_atomic

_log = logging.getLogger(__name__)

_POLL_S = 0.05
_EXIT_LIMIT_S = 2.0
"""Longest wait for a process that is being killed to let go of our address."""
_STEADY_S = 30.0
"""A server that lived for so long and then dies is started again at once."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """How closely the server is watched, in seconds."""

    check_interval_s: float = 0.5
    """Between looks at whether it lives."""
    probe_interval_s: float = 5.0
    """Between requests that it must answer."""
    hung_after_s: float = 30.0
    """A server that lives but answers nothing for so long is ended and started again."""
    restart_most_s: float = 15.0
    """Longest pause between attempts to start it."""
    settle_s: float = 10.0
    """Longest wait for a start or reload to take effect."""
    stop_timeout_s: float = 30.0
    """How long running transfers may go on when it is stopped."""


class NginxSupervisor:
    """The WebServer port on a real nginx. One for each run folder; the agent's lock on its state guards that."""

    def __init__(
        self, settings: NginxSettings, *, clock: Clock, rng: Rng, binary: str = "", watch: Watch | None = None
    ) -> None:
        """`settings` as far as the agent's own configuration goes; `point` fills in what the control plane wants."""
        self._settings = settings
        self._clock = clock
        self._rng = rng
        self._watch = watch or Watch()
        self._folder = Path(settings.run_folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._binary = NginxBinary(binary, self._folder)
        self._turn = asyncio.Lock()
        self._is_wanted = False
        self._is_behind = False
        self._known: NginxProcess | None = None
        self._report = NginxReport()
        self._failures = 0
        self._started_s = self._answered_s = clock.monotonic_s()
        self._next_attempt_s = 0.0
        self._next_probe_s = 0.0
        self._work: tuple[Usage | None, ...] = ()

    def report(self) -> NginxReport:
        """Whether it serves, which build and configuration, how often it had to be started again, the last error."""
        return self._report

    async def point(self, *, origin_url: str, redirect_url: str) -> None:
        """Send requests for files not held to these; see ports.WebServer."""
        await self.apply(dataclasses.replace(self._settings, origin_url=origin_url, redirect_url=redirect_url))

    async def apply(self, settings: NginxSettings) -> None:
        """Serve by `settings` from now on; when they cannot be used, go on as before and say so in the report."""
        async with self._turn:
            self._settings = settings
            self._is_wanted = True
            await self._converge()

    async def run(self) -> None:
        """Watch until cancelled. Cancelling leaves the server as it is."""
        while True:
            await self._clock.sleep(self._watch.check_interval_s)
            async with self._turn:
                try:
                    if self._is_wanted:
                        await self._look_after()
                except Exception:
                    _log.exception("nginx_turn_failed")

    async def stop(self) -> None:
        """End the server: running transfers may finish within the time limit, then they are cut off."""
        async with self._turn:
            self._is_wanted = False
            await self._end(find_processes(self._folder), signal.SIGQUIT, self._watch.stop_timeout_s)
            self._known = None
            self._say(is_running=False)
            event(_log, "nginx_stopped")

    def reopen_logs(self) -> None:
        """Have nginx open its log files anew, after they were renamed."""
        master = self._master()
        if master:
            _send(master, signal.SIGUSR1)

    def processes(self) -> tuple[int, ...]:
        """Pids of the server that runs now, also of old workers that only finish their transfers."""
        return find_family(self._known.pid) if self._known else ()

    # ---- one turn

    async def _look_after(self) -> None:
        known = self._known
        if known is not None and not _is_alive(known, self._folder):
            self._note_death()
        now_s = self._clock.monotonic_s()
        if self._known is None or self._is_behind:
            if now_s >= self._next_attempt_s:
                await self._converge()
        elif now_s >= self._next_probe_s:
            self._next_probe_s = now_s + self._watch.probe_interval_s
            self._wake_halted()
            await self._probe()

    async def _converge(self) -> None:
        """Bring settings, files and server together. What cannot be used is reported and changes nothing."""
        error = ""
        try:
            text = await self._rendered()
            digest = _digest(text.encode())
            master = self._master()
            if not (master and self._is_loaded(master, digest)):
                await self._adopt(text, digest, master)
            self._say(config_digest=digest)
        except (ApplianceError, OSError) as refused:
            error = str(refused)
            event(_log, "nginx_refused", level=logging.ERROR, error=error)
        if error and not self._master():
            await self._start_last_good()
        self._known = self._master()
        self._is_behind = bool(error)
        self._say(is_running=self._known is not None, error=error)
        if error:
            self._wait_longer()

    async def _rendered(self) -> str:
        build = await self._binary.build()
        self._say(version=build.version_text)
        return render_nginx_conf(fit_settings(self._settings, self._folder), build)

    async def _adopt(self, text: str, digest: str, master: NginxProcess | None) -> None:
        """Test the new configuration, swap it in, load it; swap it out again when it did not load."""
        conf, candidate, before = (
            self._folder / name for name in ("nginx.conf", "nginx.conf.new", "nginx.conf.before")
        )
        write_atomic(candidate, text.encode(), mode=0o600)
        await self._binary.test(candidate)
        if conf.exists():
            write_atomic(before, conf.read_bytes(), mode=0o600)
        os.replace(candidate, conf)
        try:
            await (self._reload(master) if master else self._start(conf))
        except NginxError:
            if before.exists():
                os.replace(before, conf)
            raise
        self._note_loaded(digest)
        event(_log, "nginx_reloaded" if master else "nginx_started", config=digest, version=self._report.version)

    async def _start_last_good(self) -> None:
        """What is wanted does not start: better to serve by the configuration that did the last time."""
        conf = self._folder / "nginx.conf"
        if not conf.exists():
            return
        digest = _digest(conf.read_bytes())
        try:
            await self._start(conf)
        except (ApplianceError, OSError) as refused:
            event(_log, "nginx_not_started", level=logging.ERROR, config=digest, error=str(refused))
            return
        self._note_loaded(digest)
        self._say(config_digest=digest)
        event(_log, "nginx_started", level=logging.WARNING, config=digest, is_wanted=False)

    def _note_death(self) -> None:
        now_s = self._clock.monotonic_s()
        self._known = None
        self._say(is_running=False, restarts=self._report.restarts + 1, error="nginx died; it is started again")
        event(_log, "nginx_died", level=logging.ERROR, lived_s=now_s - self._started_s, deaths=self._report.restarts)
        if now_s - self._started_s > _STEADY_S:
            self._failures, self._next_attempt_s = 0, now_s
        else:
            self._wait_longer()

    def _wait_longer(self) -> None:
        """The first attempt after a failure is soon, each further one later."""
        wait_s = backoff_s(self._rng, self._failures, first_s=0.25, most_s=self._watch.restart_most_s)
        self._failures += 1
        self._next_attempt_s = self._clock.monotonic_s() + wait_s

    # ---- starting and reloading

    async def _start(self, conf: Path) -> None:
        await self._end_orphans()
        # A killed nginx drops its command line before its sockets: for a moment it looks like somebody else's process.
        occupant = ""

        def is_free() -> bool:
            nonlocal occupant
            occupant = self._find_occupant()
            return not occupant

        if not await self._until(is_free, limit_s=_EXIT_LIMIT_S):
            raise NginxError(f"address {occupant}: end it or set nginx.listen")
        (self._folder / "own.sock").unlink(missing_ok=True)
        await self._binary.start(conf)
        if not await self._until(lambda: self._has_fresh_worker(frozenset())):
            raise NginxError("nginx started but has no worker; see error.log in its folder")
        self._started_s = self._answered_s = self._clock.monotonic_s()

    async def _reload(self, master: NginxProcess) -> None:
        """SIGHUP; it has worked when workers are there that were not there before."""
        old = frozenset(process.pid for process in find_processes(self._folder))
        log_size = _size(self._folder / "error.log")
        _send(master, signal.SIGHUP)
        if not await self._until(lambda: self._has_fresh_worker(old) or bool(self._last_fault(log_size))):
            raise NginxError(f"nginx did not reload within {self._watch.settle_s:.0f} s")
        fault = self._last_fault(log_size)
        if fault and not self._has_fresh_worker(old):
            raise NginxError(fault)

    def _has_fresh_worker(self, old: frozenset[int]) -> bool:
        processes = find_processes(self._folder)
        masters = {process.pid for process in processes if process.is_master}
        return any(
            process.parent in masters and process.pid not in old and not process.is_leaving for process in processes
        )

    async def _end_orphans(self) -> None:
        """Workers without master hold the address: they stop listening when told to, and finish their transfers."""
        orphans = [process for process in find_processes(self._folder) if not process.is_leaving]
        for orphan in orphans:
            event(_log, "nginx_orphan_found", level=logging.WARNING, pid=orphan.pid)
            _send(orphan, signal.SIGCONT)
            _send(orphan, signal.SIGQUIT)
        pids = {orphan.pid for orphan in orphans}

        def still() -> list[NginxProcess]:
            return [found for found in find_processes(self._folder) if found.pid in pids and not found.is_leaving]

        if orphans and not await self._until(lambda: not still(), limit_s=2.0):
            await self._end(tuple(still()), signal.SIGKILL, 5.0)

    def _find_occupant(self) -> str:
        return find_occupant((*self._settings.listen, *self._settings.tls_listen), self._folder)

    async def _end(self, processes: tuple[NginxProcess, ...], kind: signal.Signals, limit_s: float) -> None:
        """Signal masters (or, without one, all), wait, and kill what is left after `limit_s`."""
        for process in processes:
            _send(process, signal.SIGCONT)
            if process.is_master or kind is signal.SIGKILL or not _first_master(processes):
                _send(process, kind)
        pids = {process.pid for process in processes}

        def left() -> list[NginxProcess]:
            return [found for found in find_processes(self._folder) if found.pid in pids]

        if not await self._until(lambda: not left(), limit_s=limit_s):
            for process in left():
                _send(process, signal.SIGKILL)
            await self._until(lambda: not left(), limit_s=5.0)

    async def _until(self, is_so: Callable[[], bool], *, limit_s: float | None = None) -> bool:
        end_s = self._clock.monotonic_s() + (self._watch.settle_s if limit_s is None else limit_s)
        while not is_so():
            if self._clock.monotonic_s() >= end_s:
                return False
            await self._clock.sleep(_POLL_S)
        return True

    # ---- probing

    def _wake_halted(self) -> None:
        for pid in self.processes():
            process = look_at(pid, os.path.realpath(self._folder))
            if process and process.is_stopped:
                event(_log, "nginx_was_halted", level=logging.WARNING, pid=pid)
                _send(process, signal.SIGCONT)

    async def _probe(self) -> None:
        """Ask for /healthz. A server that neither answers nor works for long is killed, and started by the next turn.

        One that does not answer but works has more clients than it can take; to kill it would cut those off as well.
        """
        now_s = self._clock.monotonic_s()
        work = tuple(read_usage(pid) for pid in self.processes())
        if await self._answers():
            self._answered_s = now_s
            if now_s - self._started_s > _STEADY_S:
                self._failures = 0
        elif work != self._work:
            self._answered_s = now_s
            event(_log, "nginx_overloaded", level=logging.WARNING)
        elif now_s - self._answered_s > self._watch.hung_after_s:
            event(_log, "nginx_hung", level=logging.ERROR, after_s=self._watch.hung_after_s)
            await self._end(find_processes(self._folder), signal.SIGKILL, 5.0)
        self._work = work

    async def _answers(self) -> bool:
        is_clear = bool(self._settings.listen)
        host, port = split_address((self._settings.listen or self._settings.tls_listen)[0])
        if ip_address(host).is_unspecified:
            host = "::1" if ":" in host else "127.0.0.1"
        try:
            async with asyncio.timeout(self._watch.probe_interval_s):
                return await _ask_health(host, port, is_tls=not is_clear)
        except (OSError, TimeoutError):
            return False

    # ---- small things

    def _master(self) -> NginxProcess | None:
        return _first_master(find_processes(self._folder))

    def _is_loaded(self, master: NginxProcess, digest: str) -> bool:
        """Whether this very process has loaded this very configuration."""
        with contextlib.suppress(OSError):
            return (self._folder / "loaded").read_text() == f"{master.pid} {master.started_ticks} {digest}\n"
        return False

    def _note_loaded(self, digest: str) -> None:
        master = self._master()
        if master:
            write_atomic(self._folder / "loaded", f"{master.pid} {master.started_ticks} {digest}\n".encode())

    def _last_fault(self, offset: int) -> str:
        """What nginx wrote to its error log as reason to give up, after `offset`."""
        with contextlib.suppress(OSError), open(self._folder / "error.log", "rb") as log:
            log.seek(offset)
            text = log.read(1 << 16).decode("utf-8", errors="replace")
            return first_fault(text) if "[emerg]" in text else ""
        return ""

    def _say(self, **changes: object) -> None:
        self._report = dataclasses.replace(self._report, **changes)  # type: ignore[arg-type]


def _first_master(processes: tuple[NginxProcess, ...]) -> NginxProcess | None:
    return next((process for process in processes if process.is_master), None)


def _is_alive(known: NginxProcess, folder: Path) -> bool:
    found = look_at(known.pid, os.path.realpath(folder))
    return found is not None and found.started_ticks == known.started_ticks


def _send(process: NginxProcess, kind: signal.Signals) -> None:
    """Signal this very process: by its descriptor, so that a pid given to another meanwhile is never hit."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        stat = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        if int(stat[19]) == process.started_ticks:
            signal.pidfd_send_signal(descriptor, kind)
    except (ProcessLookupError, FileNotFoundError):
        return
    finally:
        os.close(descriptor)


async def _ask_health(host: str, port: int, *, is_tls: bool) -> bool:
    reader, writer = await asyncio.open_connection(host, port, ssl=_any_certificate() if is_tls else None)
    try:
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: healthz\r\nConnection: close\r\n\r\n")
        return (await reader.read(64)).startswith(b"HTTP/1.1 200")
    finally:
        writer.close()


def _any_certificate() -> ssl.SSLContext:
    """For asking our own server whether it answers; who it says it is does not matter then."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def fit_settings(settings: NginxSettings, folder: Path) -> NginxSettings:
    """Settings within the limits of this machine; as root, workers run as the owner of the run folder."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    files = settings.open_files if hard == resource.RLIM_INFINITY else min(settings.open_files, hard)
    connections = min(settings.worker_connections, files // 3)
    user = settings.worker_user
    if not user and os.geteuid() == 0:
        user = pwd.getpwuid(folder.stat().st_uid).pw_name
    with contextlib.suppress(KeyError):
        # nginx would take a group called as the user is; `nobody` has none on Debian. An unknown user nginx refuses.
        settings = dataclasses.replace(settings, worker_group=grp.getgrgid(pwd.getpwnam(user).pw_gid).gr_name)
    return dataclasses.replace(
        settings,
        open_files=files,
        worker_connections=connections,
        open_file_cache=max(1, min(settings.open_file_cache, files - connections - 512)),
        worker_user=user,
    )


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()[:16]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
