"""The build store: what was built, by key, and what came out, by content. A kill at any point leaves it whole.

    keys/<key>.json               a Build: inputs, verdict, provenance
    logs/<key>.log                its log
    outputs/<output_sha256>/      what came out, and provenance.json and build.log of the first build that gave it
    first/<output_sha256>         the id of that build; outlives the outputs, so that equality is known without them
    locks/  tmp/<key>/            guarded by the key's lock: what is there without it was left by a kill

Everything appears by one rename, outputs before the record that names them. Outputs in a candidate never leave.
"""

import contextlib
import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from headrace.base.clock import Clock
from headrace.upstream.build import (
    Build,
    BuildId,
    BuildKey,
    BuildVerdict,
    Output,
    Source,
    output_digest,
    with_source,
)
from headrace.wire.codec import decode, encode
from headrace.wire.errors import MalformedError
from headrace.wire.files import fsync_folder, write_atomic
from headrace.workshop.adapters.locks import hold_lock, try_lock
from headrace.workshop.errors import StoreError

LOG, CONFIG, PROVENANCE = "build.log", "config", "provenance.json"


class BuildStore:
    """The folder `builds/`. Every method maps errors of the disk to StoreError."""

    def __init__(self, root: Path, *, clock: Clock) -> None:
        self.root = root
        self._clock = clock

    def get(self, key: BuildKey) -> Build | None:
        """The build of this key; None when there is none, or its outputs have left."""
        build = self._read(self._record(key))
        if build is None or (build.verdict is BuildVerdict.BUILT and not self.folder(build).is_dir()):
            return None
        if build.verdict is BuildVerdict.BUILT:
            with _disk(self.root):
                os.utime(self.folder(build))  # used now, so not the next to leave
        return build

    def find(self, text: str) -> Build:
        """The build that a person means by an id or the start of one.

        Raises:
            StoreError: none or several.
        """
        start = text.removeprefix("b-")
        found = []
        if start and all(digit in "0123456789abcdef" for digit in start):
            found = [build for path in self.root.glob(f"keys/{start}*.json") if (build := self._read(path))]
        if len(found) != 1:
            what = "several builds" if found else "no build"
            raise StoreError(f"{what} {text[:80]!r} in {self.root}; `headrace release builds` lists them")
        return found[0]

    def builds(self) -> list[Build]:
        """All builds, the oldest first."""
        found = [build for path in self.root.glob("keys/*.json") if (build := self._read(path))]
        return sorted(found, key=lambda build: build.provenance.started_at_s)

    def folder(self, build: Build) -> Path:
        """Where the outputs of a build lie."""
        return self.root / "outputs" / build.output_sha256

    def has_outputs(self, build: Build) -> bool:
        """Whether the outputs are still there."""
        return build.verdict is BuildVerdict.BUILT and self.folder(build).is_dir()

    def output(self, build: Build, name: str) -> Path:
        """The path of one output.

        Raises:
            StoreError: the build has no such output, or it has left the store.
        """
        path = self.folder(build) / name
        if name not in {output.name for output in build.outputs}:
            raise StoreError(f"{build.build_id} has no output {name!r}")
        if not path.is_file():
            raise StoreError(f"the outputs of {build.build_id} have left the store; build it again")
        return path

    def log(self, key: BuildKey) -> Path:
        """Where the log of a build lies."""
        return self.root / "logs" / f"{key}.log"

    @contextlib.contextmanager
    def hold(self, name: str, *, wait_s: float, on_wait: Callable[[], None] = lambda: None) -> Iterator[Path]:
        """Work alone on what `name` stands for, a key as a rule; gives an empty folder that is gone afterwards.

        Raises:
            BusyError: somebody else worked on it for longer than `wait_s`.
        """
        with hold_lock(self._lock(name), clock=self._clock, wait_s=wait_s, on_wait=on_wait):
            scratch = self.root / "tmp" / name
            with _disk(self.root):
                shutil.rmtree(scratch, ignore_errors=True)
                scratch.mkdir(parents=True)
            try:
                yield scratch
            finally:
                shutil.rmtree(scratch, ignore_errors=True)

    def put(self, scratch: Path, draft: Build, files: Mapping[str, Path], config: Path | None) -> Build:
        """Keep a build and its files, by name of the output; only while the key is held.

        `draft` has everything but what follows from the files. The log must be in place already.
        """
        with _disk(self.root):
            place = scratch / "outputs"
            place.mkdir()
            outputs = tuple(_take(name, path, place) for name, path in sorted(files.items()))
            if config:
                shutil.copyfile(config, place / CONFIG)
            digest = output_digest(outputs)
            build = replace(
                draft,
                verdict=BuildVerdict.BUILT,
                outputs=outputs,
                output_sha256=digest,
                same_as=self._earlier(digest, draft.build_id),
            )
            self._place(place, build)
            self._write(build)
            if not self._first(digest).exists():
                write_atomic(self._first(digest), build.build_id.encode())
        return build

    def put_unbuildable(self, build: Build) -> Build:
        """Remember that these inputs do not build; only while the key is held."""
        with _disk(self.root):
            self._write(build)
        return build

    def keep_log(self, key: BuildKey, log: Path) -> Path:
        """Take over a log; gives its place."""
        place = self.log(key)
        with _disk(self.root):
            place.parent.mkdir(parents=True, exist_ok=True)
            temporary = place.with_name(f".{place.name}.tmp")
            shutil.copyfile(log, temporary)
            temporary.replace(place)
        return place

    def add_source(self, build: Build, source: Source) -> Build:
        """Note that this build was also asked for from `source`; only while the key is held."""
        if build.sources[-1:] == (source,):
            return build
        added = replace(build, sources=with_source(build.sources, source))
        with _disk(self.root):
            self._write(added)
        return added

    def trim(self, limit_bytes: int, *, referenced: frozenset[str], keep: Build | None = None) -> list[str]:
        """Let outputs leave, those unused for longest first, until all fit; gives the digests of those that left.

        Args:
            referenced: digests of outputs in candidates: they never leave, even when they alone exceed the limit.
            keep: just built, so about to be used.
        """
        left: list[str] = []
        with _disk(self.root):
            self._clear_scratch()
            kept = [(path, _size(path)) for path in self.root.glob("outputs/*") if path.is_dir()]
            total = sum(size for _, size in kept)
            spared = referenced | ({keep.output_sha256} if keep else set())
            for path, size in sorted(kept, key=lambda pair: pair[0].stat().st_mtime_ns):
                if total <= limit_bytes:
                    break
                if path.name not in spared:
                    self._drop(path)
                    total -= size
                    left.append(path.name)
        return left

    def _record(self, key: BuildKey) -> Path:
        return self.root / "keys" / f"{key}.json"

    def _lock(self, name: str) -> Path:
        return self.root / "locks" / f"{name}.lock"

    def _read(self, path: Path) -> Build | None:
        try:
            return decode(Build, path.read_bytes())
        except FileNotFoundError:
            return None
        except MalformedError as error:
            raise StoreError(f"{path} is damaged ({error}); remove it, and build again") from None
        except OSError as error:
            raise StoreError(f"cannot read {path}: {error.strerror or error}") from None

    def _write(self, build: Build) -> None:
        write_atomic(self._record(build.provenance.key), encode(build))

    def _first(self, digest: str) -> Path:
        return self.root / "first" / digest

    def _earlier(self, digest: str, mine: BuildId) -> BuildId | None:
        try:
            first = BuildId(self._first(digest).read_text(encoding="ascii"))
        except FileNotFoundError:
            return None
        return None if first == mine else first

    def _place(self, place: Path, build: Build) -> None:
        target = self.folder(build)
        if target.is_dir():
            os.utime(target)
            return
        write_atomic(place / PROVENANCE, encode(build.provenance))
        shutil.copyfile(self.log(build.provenance.key), place / LOG)
        fsync_folder(place)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            place.rename(target)
        except OSError as error:
            # Another key gave the same outputs at the same time: theirs are as good.
            if error.errno not in {errno.EEXIST, errno.ENOTEMPTY}:
                raise
        fsync_folder(target.parent)

    def _drop(self, path: Path) -> None:
        leaving = self.root / "tmp" / f"leaving-{path.name}"
        shutil.rmtree(leaving, ignore_errors=True)
        leaving.parent.mkdir(parents=True, exist_ok=True)
        path.rename(leaving)
        shutil.rmtree(leaving, ignore_errors=True)

    def _clear_scratch(self) -> None:
        for path in self.root.glob("tmp/*"):
            with try_lock(self._lock(path.name)) as is_ours:
                if is_ours:
                    shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _disk(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StoreError(f"no room left below {root}: free some space and build again; nothing was lost") from None
        raise StoreError(f"the build store {root} cannot be used: {error}") from None


def _take(name: str, path: Path, folder: Path) -> Output:
    target = folder / name
    shutil.copyfile(path, target)
    shutil.copymode(path, target)
    digest = hashlib.sha256()
    with target.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
        os.fsync(file.fileno())
    return Output(name=name, sha256=digest.hexdigest(), size_bytes=target.stat().st_size)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())
