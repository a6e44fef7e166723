"""Serve /metrics and /healthz to those who watch this machine, on loopback or an address of the operator's choice.

A port that is taken, or any other trouble here, never ends the agent: it is logged, and tried again.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Iterator

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from headrace.appliance.metrics import CONTENT_TYPE
from headrace.appliance.nginx_conf import split_address
from headrace.base.clock import Clock
from headrace.base.logs import event
from headrace.base.tasks import Tasks

_log = logging.getLogger(__name__)
_RETRY_S = 10.0


class MetricsServer:
    """One small HTTP server on `listen` ("127.0.0.1:9145", "[::1]:9145")."""

    def __init__(self, listen: str, metrics: Callable[[], bytes], *, clock: Clock) -> None:
        self.address = split_address(listen)
        self._metrics = metrics
        self._clock = clock

    async def run(self) -> None:
        """Serve until cancelled."""
        while True:
            try:
                await self._serve()
            except OSError as error:
                event(_log, "metrics_not_served", level=logging.ERROR, address=self.address, error=str(error))
            await self._clock.sleep(_RETRY_S)

    async def _serve(self) -> None:
        host, _ = self.address
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.create_server(self.address, family=family) as listener:
            server = _Server(
                uvicorn.Config(
                    Starlette(routes=[Route("/metrics", self._answer), Route("/healthz", _is_alive)]),
                    lifespan="off",
                    log_config=None,
                    access_log=False,
                    limit_concurrency=50,
                    timeout_keep_alive=30,
                    timeout_graceful_shutdown=1,
                )
            )
            async with Tasks() as tasks:
                work = tasks.spawn("metrics-http", server.serve(sockets=[listener]))
                try:
                    await asyncio.shield(work)
                finally:
                    server.should_exit = True
                    await asyncio.wait({work}, timeout=3.0)

    async def _answer(self, request: Request) -> Response:
        return Response(self._metrics(), media_type=CONTENT_TYPE)


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to the agent."""
        yield


async def _is_alive(request: Request) -> Response:
    return PlainTextResponse("ok\n")
