"""Commits of a tracked upstream are built, with our patches or without, and checked out only when they must be."""

from pathlib import Path

import pytest

from headrace.base.clock import SystemClock
from headrace.upstream.errors import UpstreamError
from headrace.upstream.model import upstream_name
from headrace.upstream.recipe import parse_recipe
from headrace.workshop.builder import Builder, Outcome, line_of
from headrace.workshop.candidates import CandidateStore
from headrace.workshop.config import read_workshop_config
from headrace.workshop.errors import RepositoryError
from headrace.workshop.store import BuildStore
from headrace.workshop.sync import add_upstream, sync_upstream
from headrace.workshop.testing_git import SourceRepository
from headrace.workshop.tracked import tracked_source

NAME = upstream_name("copy")
RECIPE = parse_recipe(
    "copy",
    'about = "a file"\n[build]\ncommands = [["cp", "a", "b"]]\n[outputs]\ncopy = "b"\n'
    '[toolchain]\ncommands = [["true"]]\n',
    {},
    source="copy.toml",
)


class Release:
    """A release folder with one upstream."""

    def __init__(self, root: Path, developer: SourceRepository) -> None:
        self.root, self.clock = root, SystemClock()
        self.store = BuildStore(root / "builds", clock=self.clock)
        config = read_workshop_config('[build]\nnice = 0\nmin_free = "1MiB"', source="test").build
        self.builder = Builder(self.store, CandidateStore(root / "candidates"), config, clock=self.clock)
        url = str(developer.folder)
        add_upstream(root, NAME, url, branch=None, patches=None, now_s=self.clock.now_s())

    def sync(self) -> None:
        sync_upstream(self.root, NAME, clock=self.clock, watch=lambda line: None)

    def build(self, revision: str = "") -> Outcome:
        line = line_of(RECIPE, "main")
        source, origin = tracked_source(self.root, NAME, revision, line=line, store=self.store, clock=self.clock)
        return self.builder.build(RECIPE, source, origin)

    def content(self, outcome: Outcome) -> str:
        return self.store.output(outcome.build, "copy").read_text()


def test_commits_and_the_candidate(tmp_path: Path) -> None:
    developer = SourceRepository(folder=tmp_path / "developer")
    commits = [developer.commit(f"change {number}", {"a": f"{number}\n"}) for number in range(3)]
    release = Release(tmp_path / "release", developer)
    with pytest.raises(UpstreamError, match="headrace upstream sync copy"):
        release.build()
    developer.branch("ours")
    developer.commit("our own change", {"ours": "more\n"})
    patches = release.root / "upstreams/copy/patches"
    (patches / "0001-ours.patch").write_bytes(developer.patch())
    developer.switch("main")
    release.sync()

    built = [release.build(commit) for commit in commits]
    assert [release.content(outcome) for outcome in built] == ["0\n", "1\n", "2\n"]
    assert [outcome.build.sources[-1].commit for outcome in built] == commits

    candidate = release.build()
    origin = candidate.build.sources[-1]
    assert (origin.upstream, origin.commit, len(origin.patches)) == ("copy", commits[-1], 1)
    assert candidate.build.same_as == built[-1].build.build_id, "the patch is in another file, the output is the same"

    before = {path: path.stat().st_mtime_ns for path in (release.store.root / "checkouts").rglob("a")}
    assert release.build(commits[0]).was_stored
    assert {path: path.stat().st_mtime_ns for path in before} == before, "what is stored is not checked out"
    with pytest.raises(RepositoryError, match="is no commit"):
        release.build("nonsense")
