"""Between two candidates: commits that came in, from real mirrors of any length; and what `upstream status` learns."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from headrace.base.clock import SystemClock
from headrace.cli.main import build_app
from headrace.release.testing import sample_candidate
from headrace.upstream.candidate import Candidate
from headrace.upstream.errors import UpstreamError
from headrace.upstream.model import CommitId, Stage, upstream_name
from headrace.workshop.adapters.records import UpstreamFolder
from headrace.workshop.since import commits_since, note_qualified, source_of
from headrace.workshop.sync import add_upstream, sync_upstream
from headrace.workshop.testing_git import SourceRepository

NAME = upstream_name("nginx")
CLOCK = SystemClock()


def candidate_of(name: str, commit: CommitId | None, *, patches: tuple[str, ...] = ()) -> Candidate:
    """A candidate whose only component is an nginx of this commit."""
    made = sample_candidate(name, linux="7.3")
    nginx = made.component("nginx")
    assert nginx is not None
    return replace(made, components=(replace(nginx, commit=commit, output_sha256=name * 8, patches=patches),))


@pytest.fixture
def developer(tmp_path: Path) -> SourceRepository:
    return SourceRepository(folder=tmp_path / "developer")


@pytest.fixture
def root(tmp_path: Path, developer: SourceRepository) -> Path:
    developer.commit("begin", {"a.c": "int a;\n", "README": "words\n"})
    folder = tmp_path / "release"
    add_upstream(folder, NAME, str(developer.folder), branch=None, patches=None, now_s=CLOCK.now_s())
    sync(folder)
    return folder


def sync(root: Path) -> None:
    sync_upstream(root, NAME, clock=CLOCK, watch=lambda line: None)


def test_newest_first_with_what_can_hardly_matter(root: Path, developer: SourceRepository) -> None:
    old = developer.head()
    developer.commit("Docs: more", {"README": "more words\n"})
    developer.commit("Core: a comment | with marks <&>", {"a.c": "/* b */\nint a;\n"})
    new = developer.commit("Core: another number", {"a.c": "/* b */\nint b;\n"})
    sync(root)
    since = commits_since(root, candidate_of("new", new), candidate_of("old", old))
    assert [(one.subject, one.harmless) for one in since.commits] == [
        ("Core: another number", ""),
        ("Core: a comment | with marks <&>", "only-comments"),
        ("Docs: more", "only-docs"),
    ]
    assert since.commits[0].commit_id == new
    assert since.commits[0].at_s > since.commits[1].at_s > 1e9
    assert (since.left_out, since.unknown) == (0, ())
    bounded = commits_since(root, candidate_of("new", new), candidate_of("old", old), most=2)
    assert (len(bounded.commits), bounded.left_out) == (2, 1)
    assert commits_since(root, candidate_of("new", new), candidate_of("new", new)).commits == ()
    assert len(commits_since(root, candidate_of("one", new), candidate_of("one", old)).commits) == 3, "equal builds too"


def test_what_cannot_be_told_says_why(root: Path, developer: SourceRepository) -> None:
    head = developer.head()
    tarball = commits_since(root, candidate_of("new", head), candidate_of("old", None))
    assert "folder or tarball" in tarball.unknown[0]
    gone = replace(candidate_of("new", head), components=sample_candidate("new", linux="7.3").components)
    said = commits_since(root, gone, sample_candidate("old", linux="7.2"))
    assert [line.split(":")[0] for line in said.unknown] == ["linux"], (
        "it is not followed here; nginx is the same build"
    )
    assert "no upstream" in said.unknown[0] or "linux" in said.unknown[0]


def test_twenty_thousand_commits_take_seconds(root: Path, developer: SourceRepository) -> None:
    old = developer.head()
    lines = [b"from refs/heads/main^0\n"]
    for number in range(20_000):
        body = b"line %d\n" % number
        lines.append(b"M 100644 inline f%d.c\ndata %d\n%s\n" % (number % 50, len(body), body))
    begin = b"commit refs/heads/main\ncommitter A <a@example.org> %d +0000\ndata 4\nmore\n"
    stream = b"".join(
        begin % (1_795_000_000 + number) + (lines[0] if number == 0 else b"") + line
        for number, line in enumerate(lines[1:])
    )
    developer.git.run("fast-import", "--quiet", "--force", stdin=stream)
    sync(root)
    began_s = CLOCK.monotonic_s()
    since = commits_since(root, candidate_of("new", developer.head("main")), candidate_of("old", old))
    assert CLOCK.monotonic_s() - began_s < 20
    assert (len(since.commits), since.left_out) == (500, 19_500)


def test_a_qualified_candidate_shows_in_upstream_status(root: Path, developer: SourceRepository) -> None:
    old = developer.head()
    (root / "upstreams" / "nginx" / "patches").mkdir(parents=True, exist_ok=True)
    developer.branch("ours")
    developer.commit("ours: more", {"b.c": "int ours;\n"})
    (root / "upstreams" / "nginx" / "patches" / "0001-ours.patch").write_bytes(developer.patch())
    developer.switch("main")
    new = developer.commit("Core: two", {"a.c": "int two;\n"})
    sync(root)
    record = UpstreamFolder(root=root, name=NAME).read()
    assert record.candidate is not None
    patches = tuple(str(patch.patch_id) for patch in record.candidate.patches)
    assert len(patches) == 1
    made = candidate_of("new", new, patches=patches)
    assert note_qualified(root, candidate_of("plain", new), now_s=CLOCK.now_s()) == (), "built without our patch"
    assert note_qualified(root, made, now_s=CLOCK.now_s()) == (NAME,)
    assert note_qualified(root, made, now_s=CLOCK.now_s() + 60) == (NAME,), "again, and nothing changes"
    reached = [one for one in UpstreamFolder(root=root, name=NAME).read().reached if one.stage is Stage.QUALIFIED]
    assert [one.commit for one in reached] == [record.candidate.commit]
    said = CliRunner().invoke(build_app(["upstream"]), ["upstream", "status", "--folder", str(root), "--json"])
    stages = {one["stage"]: one for one in json.loads(said.output)[0]["stages"]}
    assert stages["qualified"]["syncs"] == 1
    assert stages["qualified"]["last_s"] >= 0
    sync(root)  # a later head, without which the one before is looked for in the history
    developer.commit("Core: three", {"a.c": "int three;\n"})
    sync(root)
    assert note_qualified(root, made, now_s=CLOCK.now_s()) == (NAME,)
    assert note_qualified(root, candidate_of("old", old, patches=("x", "y")), now_s=CLOCK.now_s()) == ()


def test_the_source_of_a_component(root: Path, developer: SourceRepository, tmp_path: Path) -> None:
    component = candidate_of("new", developer.head()).components[0]
    folder = source_of(root, component, tmp_path / "source")
    assert (folder / "a.c").read_text() == "int a;\n"
    with pytest.raises(UpstreamError, match="tarball"):
        source_of(root, replace(component, commit=None), tmp_path / "other")
