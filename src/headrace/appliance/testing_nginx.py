"""Builders for tests with a real nginx: an address of its own, files to serve, a supervisor."""

import asyncio
import contextlib
import datetime
import hashlib
import ipaddress
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from headrace.appliance.adapters.nginx import NginxSupervisor, Watch
from headrace.appliance.adapters.nginx_processes import find_processes
from headrace.appliance.nginx_conf import NginxSettings
from headrace.base.clock import SystemClock
from headrace.base.ids import Sha256
from headrace.base.rng import make_rng
from headrace.base.tasks import Tasks
from headrace.catalog.model import FileSuffix, content_path

QUICK = Watch(check_interval_s=0.05, probe_interval_s=0.3, hung_after_s=1.5, restart_most_s=1.0, stop_timeout_s=3.0)


def free_port(host: str) -> int:
    """A port that nobody listens on now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def make_certificate(folder: Path) -> tuple[str, str]:
    """A certificate that signs itself, and its key, as PEM files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "appliance.test")])
    begin = datetime.datetime(2025, 1, 1, tzinfo=datetime.UTC)
    certificate = (
        x509.CertificateBuilder(issuer_name=name, subject_name=name, public_key=key.public_key())
        .serial_number(1)
        .not_valid_before(begin)
        .not_valid_after(begin + datetime.timedelta(days=36_500))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    files = folder / "certificate.pem", folder / "key.pem"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return str(files[0]), str(files[1])


class NginxRig:
    """One appliance's nginx in a folder. `async with` watches it; leaving ends every process of it."""

    def __init__(self, folder: Path, **settings: object) -> None:
        number = os.getpid()
        self.host = f"127.{10 + number // 60_000}.{number // 250 % 250}.{number % 250 + 1}"
        self.port = free_port(self.host)
        self.folder = folder
        plain = NginxSettings(
            appliance_id="a1",
            listen=(f"{self.host}:{self.port}",),
            serve_root=str(folder / "serve"),
            run_folder=str(folder / "run"),
            access_log=str(folder / "run" / "access.log"),
            redirect_url="http://steer.test",
            workers=2,
        )
        self.settings = replace(plain, **settings)  # type: ignore[arg-type]
        (folder / "serve").mkdir(parents=True, exist_ok=True)
        self.clock = SystemClock()
        self.supervisor = self.make_supervisor()
        self._tasks = Tasks()

    @property
    def url(self) -> str:
        """Base URL, clear."""
        return f"http://{self.host}:{self.port}"

    def make_supervisor(self, *, binary: str = "", watch: Watch = QUICK) -> NginxSupervisor:
        """A supervisor of this folder, as a newly started agent has it."""
        return NginxSupervisor(self.settings, clock=self.clock, rng=make_rng(1), binary=binary, watch=watch)

    def put(self, body: bytes, suffix: FileSuffix = FileSuffix.MP4) -> str:
        """Hold a file; gives its path in URLs. It is a link to a file elsewhere, as on an appliance."""
        name = Sha256(hashlib.sha256(body).hexdigest())
        path = content_path(name, suffix)
        disk = self.folder / "disk" / f"{name}.{suffix}"
        disk.parent.mkdir(exist_ok=True)
        disk.write_bytes(body)
        link = self.folder / "serve" / path[1:]
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(disk)
        return path

    def pids(self) -> set[int]:
        """All processes of this nginx, whoever is their parent."""
        return {process.pid for process in find_processes(Path(self.settings.run_folder))}

    def master(self) -> int:
        """Pid of the master."""
        return next(process.pid for process in find_processes(Path(self.settings.run_folder)) if process.is_master)

    async def until(self, is_so: Callable[[], object], limit_s: float = 10.0) -> None:
        """Wait for a condition; fails loudly."""
        async with asyncio.timeout(limit_s):
            while not is_so():  # noqa: ASYNC110  processes and files make no events
                await asyncio.sleep(0.02)

    async def __aenter__(self) -> "NginxRig":
        await self._tasks.__aenter__()
        await self.supervisor.apply(self.settings)
        self._tasks.spawn("nginx", self.supervisor.run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._tasks.__aexit__(kind, error, trace)
        self.kill()

    def kill(self) -> None:
        """End everything at once: the master first, and again until none is left, for it replaces its workers."""
        while found := find_processes(Path(self.settings.run_folder)):
            for process in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
