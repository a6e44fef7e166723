"""The processes of a steering node: a parent that keeps workers running, workers that each listen on the same port.

The kernel spreads connections over the workers (SO_REUSEPORT). A worker that dies is replaced; told to end, all finish
what they are answering.
"""

import asyncio
import gc
import logging
import multiprocessing
import os
import resource
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from multiprocessing.process import BaseProcess

import uvloop

from headrace.base.clock import Clock, SystemClock
from headrace.base.logs import event
from headrace.playback.adapters.http import HEAD_S, Application, Connections
from headrace.playback.config import ListenSettings
from headrace.playback.errors import ListenError

_log = logging.getLogger(__name__)

GRACE_S = 10
"""Workers that do not end in time after SIGTERM are killed."""
_LOOK_S = 0.1
_MOST_PAUSE_S = 5.0
_STEADY_S = 5.0
"""A worker that lived so long is replaced at once; one that did not, after ever longer pauses."""
_BACKLOG = 4096
_OTHER_FILES = 256
"""Descriptors that a worker needs besides its connections."""
_FORK = multiprocessing.get_context("fork")
"""The parent has no threads, and its modules are there once for all workers."""

RunningWorker = AbstractAsyncContextManager[Application]
"""Runs a worker's loops while it is entered."""


def serve(settings: ListenSettings, make_worker: Callable[[], RunningWorker]) -> None:
    """Serve until SIGTERM or SIGINT; `make_worker` is called once in each worker process.

    Raises:
        ListenError: the address is taken, not of this machine, or the TLS files cannot be read.
    """
    try:
        _check_free(settings)
    except OSError as error:
        raise ListenError(f"cannot listen on {settings.host} port {settings.port}: {error}") from None
    tls = _tls(settings)
    count = settings.workers or os.cpu_count() or 1
    event(_log, "steering_listens", host=settings.host, port=settings.port, workers=count)
    gc.freeze()
    with _told_to_end() as is_told:
        crew = _Crew(count, lambda: _run_worker(settings, tls, make_worker), SystemClock())
        crew.keep(is_told)


def end_worker() -> None:
    """End this worker process as its parent would: it finishes what it is answering."""
    os.kill(os.getpid(), signal.SIGTERM)


class _Crew:
    """Worker processes, each in its place."""

    def __init__(self, count: int, run: Callable[[], None], clock: Clock) -> None:
        self._run = run
        self._clock = clock
        self._places: list[BaseProcess | None] = [None] * count
        self._begun_s = [0.0] * count
        self._pauses_s = [0.0] * count

    def keep(self, is_told: Callable[[], bool]) -> None:
        """Replace those that die, until told to end; then end all."""
        try:
            while not is_told():
                for place in range(len(self._places)):
                    self._look_at(place)
                self._clock.block(_LOOK_S)
        finally:
            self._end()

    def _look_at(self, place: int) -> None:
        worker, now_s = self._places[place], self._clock.monotonic_s()
        if worker is not None:
            if worker.is_alive():
                return
            event(_log, "worker_ended", level=logging.WARNING, pid=worker.pid, exit_code=worker.exitcode)
            worker.close()
            self._places[place] = None
            is_steady = now_s - self._begun_s[place] > _STEADY_S
            self._pauses_s[place] = 0.0 if is_steady else min(_MOST_PAUSE_S, 2 * self._pauses_s[place] or _LOOK_S)
            self._begun_s[place] = now_s
        if now_s - self._begun_s[place] >= self._pauses_s[place]:
            worker = _FORK.Process(target=self._run, daemon=True)
            worker.start()
            self._places[place], self._begun_s[place] = worker, now_s

    def _end(self) -> None:
        workers = [worker for worker in self._places if worker is not None]
        for worker in workers:
            worker.terminate()
        until_s = self._clock.monotonic_s() + GRACE_S + 1
        for worker in workers:
            worker.join(max(0.0, until_s - self._clock.monotonic_s()))
            if worker.is_alive():
                worker.kill()
                worker.join()


@contextmanager
def _told_to_end() -> Iterator[Callable[[], bool]]:
    told: list[int] = []
    before = {one: signal.signal(one, lambda number, _: told.append(number)) for one in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: bool(told)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _run_worker(settings: ListenSettings, tls: ssl.SSLContext | None, make_worker: Callable[[], RunningWorker]) -> None:
    """The life of one worker process."""
    uvloop.run(_answer(settings, tls, make_worker()))


async def _answer(settings: ListenSettings, tls: ssl.SSLContext | None, worker: RunningWorker) -> None:
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    most = _room_for(settings.connections)
    async with worker as application:
        scheme = "https" if tls else "http"
        connections = Connections(application, scheme=scheme, most=most, idle_s=settings.idle_s)
        with _listening(settings) as listener:
            server = await loop.create_server(
                connections, sock=listener, ssl=tls, ssl_handshake_timeout=HEAD_S if tls else None, backlog=_BACKLOG
            )
            keeper = loop.create_task(connections.keep_time())
            try:
                await told.wait()
            finally:
                server.close()
                await connections.end(GRACE_S)
                keeper.cancel()


def _room_for(connections: int) -> int:
    """As many of the wanted connections as this process may have files open for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _OTHER_FILES
    if soft < wanted:
        soft = min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft < wanted:
        event(_log, "fewer_connections", level=logging.WARNING, wanted=connections, most=soft - _OTHER_FILES)
    return max(1, min(connections, soft - _OTHER_FILES))


def _listening(settings: ListenSettings, *, shares: bool = True) -> socket.socket:
    """A bound socket: `::` stands for all addresses, those of IPv4 too."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shares:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(settings.host != "::"))
        listener.bind((settings.host, settings.port))
    except OSError:
        listener.close()
        raise
    return listener


def _check_free(settings: ListenSettings) -> None:
    """As the workers share the port, the kernel would let two services share it too."""
    _listening(settings, shares=False).close()


def _tls(settings: ListenSettings) -> ssl.SSLContext | None:
    if not settings.tls_certificate:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(settings.tls_certificate, settings.tls_key)
    except OSError as error:  # An error of TLS is one too.
        files = f"{settings.tls_certificate} and {settings.tls_key}"
        raise ListenError(f"cannot use the certificate and key {files}: {error}") from None
    return context
