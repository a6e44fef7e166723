"""Granian as the web server: worker processes that each listen, respawned when one dies."""

import logging
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from granian import Granian
from granian.constants import HTTPModes, Interfaces, SSLProtocols
from granian.errors import ConfigurationError

from headrace.base.logs import event
from headrace.playback.config import ListenSettings
from headrace.playback.errors import ListenError

_log = logging.getLogger(__name__)
GRACE_S = 10
"""Workers that do not end in time after SIGTERM are killed."""


def serve(settings: ListenSettings, make_app: Callable[[], Any]) -> None:
    """Serve until SIGTERM or SIGINT; `make_app` is called once in each worker process.

    Raises:
        ListenError: the address is taken, not of this machine, or the TLS files cannot be read.
    """
    workers = settings.workers or os.cpu_count() or 1
    try:
        _check_free(settings.host, settings.port)
        server = Granian(
            "headrace.playback",
            address=settings.host,
            port=settings.port,
            interface=Interfaces.RSGI,
            workers=workers,
            http=HTTPModes.auto,
            websockets=False,
            backlog=4096,
            log_enabled=False,
            respawn_failed_workers=True,
            respawn_interval=0.1,
            workers_kill_timeout=GRACE_S,
            ssl_cert=Path(settings.tls_certificate) if settings.tls_certificate else None,
            ssl_key=Path(settings.tls_key) if settings.tls_key else None,
            ssl_protocol_min=SSLProtocols.tls12,
        )
        event(_log, "steering_listens", host=settings.host, port=settings.port, workers=workers)
        server.serve(target_loader=make_app, wrap_loader=False)
    except (OSError, ConfigurationError) as error:
        raise ListenError(f"cannot listen on {settings.host} port {settings.port}: {error}") from None


def end_worker() -> None:
    """End this worker process as its parent would: it finishes what it is answering."""
    os.kill(os.getpid(), signal.SIGTERM)


def _check_free(host: str, port: int) -> None:
    """Each worker has its own socket on the same port (SO_REUSEPORT), so the kernel would let two services share it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
