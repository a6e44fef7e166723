"""Which candidates hold a commit: by ancestry for upstream's, by patch-id for ours. Reads mirrors, never fetches."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from headrace.upstream.candidate import Candidate, Component
from headrace.upstream.errors import UpstreamError
from headrace.upstream.model import CommitId, PatchId, UpstreamName
from headrace.workshop.adapters.records import upstream_names
from headrace.workshop.errors import RepositoryError
from headrace.workshop.repository import Mirror
from headrace.workshop.sync import open_mirror


class By(StrEnum):
    """How a candidate holds a commit."""

    ANCESTRY = "ancestry"
    """Its upstream commit is the commit, or a later one."""
    PATCH_ID = "patch-id"
    """The commit is a patch of ours, and its queue has the same change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The commit that is asked about, as one upstream knows it."""

    upstream: UpstreamName
    commit: CommitId
    subject: str
    patch_id: PatchId | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """Whether a candidate holds it."""

    candidate: Candidate
    component: Component
    by: By | None
    """None: it does not."""
    ahead: int = 0
    """How many upstream commits the candidate has beyond the commit."""


def find_commit(root: Path, text: str, upstream: UpstreamName | None) -> tuple[Asked, Mirror]:
    """The commit that a person means, in one upstream or whichever knows it.

    Raises:
        UpstreamError: there is no upstream, or it was never synced.
        RepositoryError: none of them has it, or the mirror is gone.
    """
    names = (upstream,) if upstream else upstream_names(root)
    if not names:
        raise UpstreamError(f"no upstream is followed in {root}: `headrace upstream add NAME URL`")
    missing: list[str] = []
    for name in names:
        try:
            _, mirror = open_mirror(root, name)
        except UpstreamError:
            if upstream:
                raise
            continue
        if not (mirror.folder / "objects").is_dir():
            raise RepositoryError(f"the mirror {mirror.folder} is missing: run `headrace upstream sync {name}`")
        try:
            commit = mirror.resolve(text)
        except RepositoryError as error:
            missing.append(str(error))
            continue
        facts = mirror.facts([commit])[0]
        patch_id = mirror.patch_ids([commit]).get(commit)
        return Asked(upstream=name, commit=commit, subject=facts.subject, patch_id=patch_id), mirror
    raise RepositoryError("; ".join(missing) or "no upstream was synced yet: `headrace upstream sync NAME`")


def holdings(mirror: Mirror, asked: Asked, candidates: Iterable[Candidate]) -> tuple[Holding, ...]:
    """For each candidate with a component of this upstream, whether it holds the commit; in the order given.

    Raises:
        RepositoryError: git could not say.
    """
    found: list[Holding] = []
    for candidate in candidates:
        for component in candidate.components:
            if component.upstream == asked.upstream and component.commit is not None:
                by = _held_by(mirror, asked, component)
                ahead = mirror.count(asked.commit, component.commit) if by is By.ANCESTRY else 0
                found.append(Holding(candidate=candidate, component=component, by=by, ahead=ahead))
    return tuple(found)


def _held_by(mirror: Mirror, asked: Asked, component: Component) -> By | None:
    if asked.patch_id is not None and str(asked.patch_id) in component.patches:
        return By.PATCH_ID
    assert component.commit is not None
    try:
        is_held = mirror.is_ancestor(asked.commit, component.commit)
    except RepositoryError:
        mirror.resolve(component.commit)  # says that the mirror does not know the candidate's commit
        raise
    return By.ANCESTRY if is_held else None
