"""Commits of a tracked upstream as sources of builds; checked out only when the build is not in the store."""

from pathlib import Path

from headrace.base.clock import Clock
from headrace.upstream.build import Source
from headrace.upstream.errors import UpstreamError
from headrace.upstream.model import CommitId, UpstreamName
from headrace.upstream.tree import tree_id_of
from headrace.workshop.adapters.records import UpstreamFolder
from headrace.workshop.repository import Mirror
from headrace.workshop.sources import CommitSource
from headrace.workshop.store import BuildStore


def commit_source(mirror: Mirror, commit: CommitId, *, line: str, store: BuildStore, clock: Clock) -> CommitSource:
    """The tree of a commit as a source.

    Args:
        line: name of the work tree (`builder.line_of`) that it is built in; its lock also guards the checkout.

    Raises:
        RepositoryError: there is no such commit.
    """
    tree = tree_id_of(mirror.facts([commit])[0].tree)

    def put() -> Path:
        folder = store.root / "checkouts" / line / "source"
        mirror.check_out(commit, folder)
        return folder

    return CommitSource(tree, put, store, clock)


def tracked_source(
    root: Path, name: UpstreamName, revision: str, *, line: str, store: BuildStore, clock: Clock
) -> tuple[CommitSource, Source]:
    """What `headrace upstream sync` prepared of the upstream `name`, or a revision of it.

    Args:
        root: the release folder.
        revision: any name that git knows in the mirror; '' for the candidate: upstream's head with our patches.

    Raises:
        UpstreamError: no such upstream, or no candidate of it yet.
        RepositoryError: no such revision.
    """
    folder = UpstreamFolder(root=root, name=name)
    record = folder.read()
    mirror = Mirror(folder=folder.mirror, url=record.upstream.url)
    if revision:
        commit = mirror.resolve(revision)
        origin = Source(upstream=name, commit=commit)
    elif record.candidate is not None:
        commit = record.candidate.commit
        patches = tuple(str(patch.patch_id) for patch in record.candidate.patches)
        origin = Source(upstream=name, commit=record.candidate.upstream_commit, patches=patches)
    else:
        raise UpstreamError(f"upstream {name} has no candidate yet: run `headrace upstream sync {name}`")
    return commit_source(mirror, commit, line=line, store=store, clock=clock), origin
