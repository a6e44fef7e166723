"""Builders for tests of the appliance: files with known bytes, plans, and a store on real folders."""

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from headrace.appliance.adapters.ledger import Ledger
from headrace.appliance.adapters.serve_tree import ServeTree
from headrace.appliance.adapters.store import DiskStore
from headrace.appliance.config import AgentConfig, StoreSettings, read_config
from headrace.appliance.plan import FillPlan, make_plan
from headrace.base.clock import Clock, SystemClock
from headrace.base.ids import ApplianceId, FileNo, RenditionId, Sha256, TitleId
from headrace.base.rng import make_rng
from headrace.catalog.model import CatalogFile, FileSuffix, content_path


def body_of(number: int, size_bytes: int) -> bytes:
    """Bytes that differ for each number and repeat nowhere near."""
    block = hashlib.sha256(str(number).encode()).digest()
    return b"".join(
        hashlib.blake2b(block + index.to_bytes(8, "big")).digest() for index in range(size_bytes // 64 + 1)
    )[:size_bytes]


def file_of(number: int, body: bytes, *, title: str = "film", suffix: FileSuffix = FileSuffix.MP4) -> CatalogFile:
    """The catalogue's entry of a file with these bytes."""
    return CatalogFile(
        file_no=FileNo(number),
        sha256=Sha256(hashlib.sha256(body).hexdigest()),
        size_bytes=len(body),
        suffix=suffix,
        title_id=TitleId(title),
        rendition_id=RenditionId(f"v{number}"),
    )


def plan_of(files: Iterable[CatalogFile], *, version: int = 1) -> FillPlan:
    """A plan of these files."""
    return make_plan(version, {file.file_no: file for file in files})


def put_origin(folder: Path, file: CatalogFile, body: bytes) -> None:
    """Lay a file where an origin's web server finds it."""
    path = folder / content_path(file.sha256, file.suffix)[1:]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)


def agent_config(state: Path, folders: Iterable[Path], *, extra: str = "") -> AgentConfig:
    """A configuration with these folders; `extra` is more TOML."""
    names = ", ".join(f'"{folder}"' for folder in folders)
    text = f"""
        appliance = {{ id = "a1", content_url = "http://127.0.0.1:1", state = "{state}" }}
        control = {{ urls = ["http://127.0.0.1:1"] }}
        nginx = {{ listen = ["127.0.0.1:1"] }}
        store = {{ folders = [{names}], reserve_bytes = 0, check_interval_s = 0.1, retry_interval_s = 0.2 }}
        {extra}
    """
    return read_config(text, source="test")


class StoreBed:
    """A store on real folders that can be closed and opened again, as a restart does."""

    def __init__(self, state: Path, folders: list[Path], *, clock: Clock | None = None) -> None:
        state.mkdir(exist_ok=True)
        self.state, self.folders, self.clock = state, folders, clock or SystemClock()
        self.settings: StoreSettings = agent_config(state, folders).store
        self.ledger: Ledger
        self.store: DiskStore

    async def open(self, **changed: object) -> DiskStore:
        """Start."""
        self.settings = replace(self.settings, **changed)  # type: ignore[arg-type]
        self.ledger = Ledger(self.state / "ledger.db")
        self.store = DiskStore(
            self.settings,
            ApplianceId("a1"),
            ledger=self.ledger,
            tree=ServeTree(self.state),
            clock=self.clock,
            rng=make_rng(1),
        )
        await self.store.open()
        return self.store

    def close(self) -> None:
        """Stop."""
        self.store.close()
        self.ledger.close()

    async def put(self, file: CatalogFile, body: bytes, *, disk_id: str | None = None) -> bool:
        """Fill one file in pieces."""
        disk_id = disk_id or max(self.store.rooms(), key=lambda disk: disk.room_bytes).disk_id
        part = await self.store.open_part(disk_id, file)
        try:
            rest = body[part.size_bytes :]
            middle = len(rest) // 2
            for piece in (rest[:middle], rest[middle:]):
                await self.store.append(disk_id, file, part, bytearray(piece))
            return await self.store.publish(disk_id, file, part)
        finally:
            part.close()

    def served(self, file: CatalogFile) -> bytes | None:
        """What nginx would find; None for nothing."""
        path = self.state / "serve" / content_path(file.sha256, file.suffix)[1:]
        return path.read_bytes() if path.exists() else None
