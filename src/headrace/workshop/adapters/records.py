"""The folder of upstreams on disk: records, patch files, the lock.

    <root>/upstreams/<name>/record.json    all that is remembered; may hold a password in the URL, so mode 0600
                            mirror.git/    the bare mirror
                            patches/       the queue, unless the operator named another folder
                            work/          temporary; cleared by the holder of the lock
                            lock           flock of whoever works

The record is replaced whole: it is the one place that says which sync is in force. Never runs git.
"""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from headrace.upstream.errors import PatchError, UpstreamError
from headrace.upstream.model import PatchQueue, Taken, Upstream, UpstreamName, UpstreamRecord, upstream_name
from headrace.upstream.patches import MAX_PATCH_BYTES, parse_patch
from headrace.wire.codec import decode, encode
from headrace.wire.errors import MalformedError
from headrace.wire.files import fsync_folder, write_atomic
from headrace.workshop.errors import BusyError, WorkshopError

_OTHER_FORMS = (".diff", ".mbox", ".eml")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadQueue:
    """A queue and the text of each of its files."""

    queue: PatchQueue
    bodies: Mapping[str, bytes]
    """By file name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamFolder:
    """One upstream's place on disk."""

    root: Path
    """The release folder."""
    name: UpstreamName

    @property
    def path(self) -> Path:
        return self.root / "upstreams" / self.name

    @property
    def mirror(self) -> Path:
        return self.path / "mirror.git"

    @property
    def work(self) -> Path:
        return self.path / "work"

    def create(self, record: UpstreamRecord) -> None:
        """Remember a new upstream; whole or not at all.

        Raises:
            UpstreamError: the name is taken.
        """
        new = self.path.with_name(f".{self.name}.{os.getpid()}.new")
        with _mapped(self.path):
            new.mkdir(parents=True)
            try:
                if record.upstream.patches == str(self.path / "patches"):
                    (new / "patches").mkdir()
                write_atomic(new / "record.json", encode(record), mode=0o600)
                if (self.path / "record.json").exists():
                    raise UpstreamError(f"there is an upstream {self.name} already: {self.path}")
                new.rename(self.path)
                fsync_folder(self.path.parent)
            finally:
                shutil.rmtree(new, ignore_errors=True)

    def read(self) -> UpstreamRecord:
        """The record.

        Raises:
            UpstreamError: there is no such upstream.
            WorkshopError: the record cannot be read.
        """
        try:
            return decode(UpstreamRecord, (self.path / "record.json").read_bytes())
        except FileNotFoundError:
            known = ", ".join(upstream_names(self.root)) or "none yet"
            raise UpstreamError(f"no upstream {self.name!r} in {self.root}; there are: {known}") from None
        except (OSError, MalformedError) as error:
            raise WorkshopError(f"cannot read {self.path / 'record.json'}: {error}") from None

    def write(self, record: UpstreamRecord) -> None:
        """Replace the record at once."""
        with _mapped(self.path):
            write_atomic(self.path / "record.json", encode(record), mode=0o600)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the upstream for changes; free again when this process ends, however it ends.

        Raises:
            BusyError: somebody else holds it.
        """
        self.read()
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip() or "?"
                raise BusyError(f"another sync of {self.name} is running (process {holder}); wait for it") from None
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
            yield
        finally:
            os.close(descriptor)

    def remove(self) -> None:
        """Take it all away; from one moment to the next there is no such upstream. Only for the holder of the lock."""
        gone = self.path.with_name(f".{self.name}.{os.getpid()}.gone")
        with _mapped(self.path):
            self.path.rename(gone)
            fsync_folder(gone.parent)
        shutil.rmtree(gone, ignore_errors=True)

    def clear_work(self) -> None:
        """Remove what a killed sync left. Only for the holder of the lock."""
        shutil.rmtree(self.work, ignore_errors=True)

    def finish_leaving(self, record: UpstreamRecord) -> UpstreamRecord:
        """Move patches that upstream has taken to `taken/`, each with a header that says by which commit."""
        if not record.leaving:
            return record
        for taken in record.leaving:
            with _mapped(Path(record.upstream.patches)):
                _move_taken(Path(record.upstream.patches), taken)
        done = replace(record, leaving=())
        self.write(done)
        return done


def upstream_names(root: Path) -> tuple[UpstreamName, ...]:
    """All upstreams of a release folder, in order."""
    records = sorted((root / "upstreams").glob("*/record.json"))
    return tuple(upstream_name(record.parent.name) for record in records if not record.parent.name.startswith("."))


def read_queue(upstream: Upstream) -> ReadQueue:
    """The patch queue of an upstream, as `read_patches` reads it."""
    return read_patches(Path(upstream.patches), owner=upstream.name)


def read_patches(folder: Path, *, owner: str) -> ReadQueue:
    """All `*.patch` of a folder in the order of their names; `owner`: whose queue it is, for messages.

    Raises:
        UpstreamError: the folder is missing.
        PatchError: a file is no patch of `git format-patch`, or lacks its reason; names file and line.
    """
    try:
        names = sorted(entry.name for entry in folder.iterdir() if entry.is_file() and not entry.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        raise UpstreamError(f"the patch folder of {owner} is missing: {folder}") from None
    except OSError as error:
        raise UpstreamError(f"cannot read the patch folder of {owner}: {error}") from None
    for name in names:
        if name.endswith(_OTHER_FORMS):
            raise PatchError(f"{folder / name}: would be left out; name patches *.patch, keep other files elsewhere")
    bodies = {name: read_patch_file(folder / name) for name in names if name.endswith(".patch")}
    patches = tuple(parse_patch(name, body) for name, body in bodies.items())
    return ReadQueue(queue=PatchQueue(patches=patches), bodies=bodies)


def read_patch_file(path: Path) -> bytes:
    """The bytes of a patch file, bounded.

    Raises:
        PatchError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(MAX_PATCH_BYTES + 1)
    except OSError as error:
        raise PatchError(f"cannot read the patch {path}: {error.strerror}") from None


def write_patch_file(upstream: Upstream, name: str, body: bytes) -> Path:
    """Put a patch into the queue's folder; whole or not at all."""
    path = Path(upstream.patches) / name
    with _mapped(path):
        write_atomic(path, body)
    return path


def _move_taken(folder: Path, taken: Taken) -> None:
    source = folder / taken.file_name
    if not source.exists():
        return
    body = source.read_bytes()
    target = folder / "taken" / taken.file_name
    mark = f"Headrace-Taken: {taken.commit or 'unknown'} ({taken.by})\n".encode()
    lines = body.split(b"\n\n", maxsplit=1)
    write_atomic(target, b"\n".join([lines[0], mark, *lines[1:]]) if len(lines) > 1 else body)
    source.unlink()
    fsync_folder(folder)


@contextlib.contextmanager
def _mapped(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WorkshopError(f"cannot write {error.filename or path}: {error.strerror}; nothing was changed") from None
