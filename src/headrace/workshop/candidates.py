"""Candidates on disk: `candidates/<id>.json`, written whole or not at all."""

from collections.abc import Iterator
from pathlib import Path

from headrace.upstream.candidate import Candidate
from headrace.wire.codec import decode, encode
from headrace.wire.errors import MalformedError
from headrace.wire.files import write_atomic
from headrace.workshop.errors import StoreError


class CandidateStore:
    """The folder `candidates/`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def save(self, candidate: Candidate) -> Candidate:
        """Keep a candidate; one that is there already stays as it is, with its time."""
        path = self.root / f"{candidate.candidate_id}.json"
        if path.exists():
            return _read(path)
        try:
            write_atomic(path, encode(candidate))
        except OSError as error:
            raise StoreError(f"cannot write {path}: {error.strerror or error}") from None
        return candidate

    def find(self, text: str) -> Candidate:
        """The candidate that a person means by an id or the start of one.

        Raises:
            StoreError: none or several.
        """
        start = f"c-{text.removeprefix('c-')}"
        found = [path for path in self._paths() if path.stem.startswith(start)]
        if len(found) != 1 or len(start) < 3:
            what = "several candidates" if found else "no candidate"
            raise StoreError(f"{what} {text[:80]!r} in {self.root}; `headrace release candidates` lists them")
        return _read(found[0])

    def all(self) -> list[Candidate]:
        """All candidates, the oldest first."""
        return sorted((_read(path) for path in self._paths()), key=lambda candidate: candidate.made_at_s)

    def referenced(self) -> frozenset[str]:
        """Digests of the outputs that candidates are made of. Raises StoreError rather than leaving one out."""
        return frozenset(component.output_sha256 for candidate in self.all() for component in candidate.components)

    def _paths(self) -> Iterator[Path]:
        return self.root.glob("c-*.json")


def _read(path: Path) -> Candidate:
    try:
        return decode(Candidate, path.read_bytes())
    except MalformedError as error:
        raise StoreError(f"{path} is damaged ({error}); remove it, or put it back from a copy") from None
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror or error}") from None
