"""Runs a control node: the API on its port, the live feed, the loops; and stops them in good order.

On SIGTERM or SIGINT streams end at once, running requests get `limits.stop_s`, the loops give up their lease.
"""

import asyncio
import logging
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from headrace.base.logs import event
from headrace.base.rng import make_rng
from headrace.base.tasks import Tasks
from headrace.control.api.parts import Parts
from headrace.control.config import ControlConfig, ListenConfig, beside, located_fleet
from headrace.control.errors import CertificateError, ControlError
from headrace.control.loops.service import run_loops
from headrace.control.secret_text import SecretKind, new_secret

_log = logging.getLogger(__name__)

_KEEP_ALIVE_S = 75
"""Longer than the intervals of agents and steering nodes, so that they keep their connections."""


class _Server(uvicorn.Server):
    """Leaves signals to `serve`, which has more to stop than this server."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(app: ASGIApp, parts: Parts, source: Path) -> None:
    """Serve until a signal comes or a part fails.

    Args:
        source: the configuration file; paths in it are relative to its folder.

    Raises:
        ControlError: the address is taken or the certificate cannot be used.
    """
    config = parts.config
    listener = _listen(config.listen)
    server = _Server(_uvicorn_config(app, config, source))
    node = f"{socket.gethostname()}:{new_secret(SecretKind.SESSION).secret_id}"
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    host, port = listener.getsockname()[:2]
    event(_log, "listening", host=host, port=port, tls=bool(config.listen.tls_certificate), node=node)
    async with Tasks() as tasks:
        serving = tasks.spawn("server", server.serve(sockets=[listener]))
        tasks.spawn("feed", parts.feed.run())
        loops = run_loops(
            store=parts.store,
            settings=located_fleet(config.fleet, source.parent),
            urls=config.loop_urls,
            node=node,
            clock=parts.clock,
            rng=make_rng(node),
            state=parts.loop_state,
            routing=parts.routing,
        )
        tasks.spawn("loops", loops)
        tasks.spawn("routing", parts.routing.run(make_rng(f"{node} routing")))
        failure = tasks.spawn("failure", tasks.until_first_failure())
        stop = tasks.spawn("stop", stopping.wait())
        await asyncio.wait({serving, failure, stop}, return_when=asyncio.FIRST_COMPLETED)
        parts.feed.close()
        server.should_exit = True
        await asyncio.wait({serving}, timeout=config.limits.stop_s + 2)
        if failure.done():
            failure.result()
    event(_log, "stopped", node=node)


def _listen(listen: ListenConfig) -> socket.socket:
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    try:
        return socket.create_server(
            (listen.host, listen.port), family=family, backlog=2048, dualstack_ipv6=listen.host == "::"
        )
    except OSError as error:
        raise ControlError(f"cannot listen on {listen.host} port {listen.port}: {error.strerror}") from None


def _uvicorn_config(app: ASGIApp, config: ControlConfig, source: Path) -> uvicorn.Config:
    certificate, key = beside(source, config.listen.tls_certificate), beside(source, config.listen.tls_key)
    made = uvicorn.Config(
        app,
        loop="none",
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(config.limits.stop_s)),
        ssl_certfile=certificate,
        ssl_keyfile=key,
    )
    try:
        made.load()
    except OSError as error:  # ssl.SSLError is one
        raise CertificateError(f"cannot use the certificate {certificate} with the key {key}: {error}") from None
    return made
