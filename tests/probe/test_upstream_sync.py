"""Syncs of real git repositories: the queue goes on the new head, what upstream took leaves, a conflict waits."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from headrace.base.clock import ManualClock
from headrace.upstream.errors import UpstreamError
from headrace.upstream.model import CommitId, Conflict, Stage, TakenBy, UpstreamName
from headrace.workshop.adapters.records import UpstreamFolder
from headrace.workshop.errors import RepositoryError, RewrittenError
from headrace.workshop.repository import Mirror
from headrace.workshop.sync import SyncResult, add_upstream, candidate_at, note_reached, open_mirror, sync_upstream
from headrace.workshop.testing_git import START_S, SourceRepository, numbered

NAME = UpstreamName("up")


@dataclass(slots=True, kw_only=True)
class Bench:
    """An upstream, a folder of patches, a release folder."""

    tmp: Path
    source: SourceRepository
    clock: ManualClock

    @property
    def patches(self) -> Path:
        return self.tmp / "patches"

    def add(self, root: str = "release", *, url: str = "") -> Path:
        folder = self.tmp / root
        where = url or str(self.source.folder)
        add_upstream(folder, NAME, where, branch="main", patches=self.patches, now_s=self.clock.now_s())
        return folder

    def sync(self, root: str = "release", *, resume: bool = False, rewritten: bool = False) -> SyncResult:
        return sync_upstream(
            self.tmp / root,
            NAME,
            clock=self.clock,
            watch=lambda line: None,
            is_resume=resume,
            may_be_rewritten=rewritten,
        )

    def local(self, file_name: str, subject: str, files: dict[str, str], *, at: str = "main") -> CommitId:
        """A patch made on a branch of its own, put into the queue."""
        self.source.branch("local", at)
        commit = self.source.commit(subject, files)
        (self.patches / file_name).write_bytes(self.source.patch())
        self.source.switch("main")
        return commit

    def queue(self) -> list[str]:
        return sorted(path.name for path in self.patches.glob("*.patch"))

    def read(self, commit: CommitId, path: str, root: str = "release") -> str:
        _, mirror = open_mirror(self.tmp / root, NAME)
        return mirror.git().run("show", f"{commit}:{path}").text + "\n"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    source = SourceRepository(folder=tmp_path / "source")
    source.grow(300)
    source.commit("base", {"tcp.c": numbered(200), "udp.c": numbered(50), "doc.txt": "words\n"})
    (tmp_path / "patches").mkdir()
    return Bench(tmp=tmp_path, source=source, clock=ManualClock(START_S + 1000 * 3600.0))


@pytest.fixture
def two(bench: Bench) -> Bench:
    """Two patches, added, synced once."""
    bench.local("0001-tcp.patch", "[net] tcp: ours", {"tcp.c": numbered(200, {20: "ours", 100: "ours"})})
    bench.local("0002-udp.patch", "udp: ours", {"udp.c": numbered(50, {25: "ours"})})
    bench.add()
    assert bench.sync().is_changed
    return bench


def candidate(result: SyncResult) -> CommitId:
    assert result.record.candidate is not None
    return result.record.candidate.commit


def test_the_queue_is_put_on_the_head(two: Bench) -> None:
    head = two.source.commit("tcp: theirs", {"tcp.c": numbered(200, {180: "theirs"})})
    result = two.sync()
    assert (result.conflict, result.new_commits, result.taken, result.is_changed) == (None, 1, (), True)
    made = result.record.candidate
    assert made is not None
    assert made.upstream_commit == head
    assert two.read(made.commit, "tcp.c") == numbered(200, {20: "ours", 100: "ours", 180: "theirs"})
    assert two.read(made.commit, "udp.c") == numbered(50, {25: "ours"})
    _, mirror = open_mirror(two.tmp / "release", NAME)
    subjects = [one.subject for one in mirror.between(head, made.commit)]
    assert subjects == ["[net] tcp: ours", "udp: ours"]
    assert mirror.facts([made.commit])[0].author == "Up <up@example.org>"
    assert "Headrace" not in mirror.git().run("log", "-2", "--format=%b", made.commit).text


def test_the_same_queue_on_the_same_head_is_the_same_commit(two: Bench) -> None:
    two.add("other")
    two.clock.advance(12345)
    assert candidate(two.sync("other")) == candidate(two.sync())
    assert not two.sync().is_changed


def test_noting_where_a_patch_was_sent_changes_no_candidate(two: Bench) -> None:
    before = candidate(two.sync())
    path = two.patches / "0001-tcp.patch"
    path.write_bytes(path.read_bytes().replace(b"Headrace-Sent: none", b"Headrace-Sent: https://example.org/1"))
    result = two.sync()
    assert (candidate(result), result.is_changed) == (before, False)


def test_a_taken_patch_leaves_the_queue_with_its_commit(two: Bench) -> None:
    two.source.commit("udp: far away", {"udp.c": numbered(50, {1: "theirs"})})
    two.source.branch("other-words")
    two.source.commit("merged as something else", {"udp.c": numbered(50, {1: "theirs", 25: "ours"})})
    two.source.switch("main")
    commit = two.source.pick("other-words")
    two.source.commit("later", {"doc.txt": "more\n"})
    result = two.sync()
    assert [(one.file_name, one.by, one.commit) for one in result.taken] == [
        ("0002-udp.patch", TakenBy.PATCH_ID, commit)
    ]
    assert two.queue() == ["0001-tcp.patch"]
    assert f"Headrace-Taken: {commit} (patch-id)\n" in (two.patches / "taken" / "0002-udp.patch").read_text()
    assert [one.file_name for one in result.record.candidate.patches] == ["0001-tcp.patch"]


def test_a_patch_merged_upstream_in_other_words_is_dropped_with_a_note_and_may_come_back(two: Bench) -> None:
    commit = two.source.commit("udp: ours", {"udp.c": numbered(50, {40: "theirs"})})
    result = two.sync()
    assert [(one.by, one.commit) for one in result.taken] == [(TakenBy.SUBJECT, commit)]
    assert "look at the difference" in result.taken[0].note
    (two.patches / "taken" / "0002-udp.patch").rename(two.patches / "0002-udp.patch")
    again = two.sync()
    assert again.taken == ()
    assert two.read(candidate(again), "udp.c") == numbered(50, {25: "ours", 40: "theirs"})


def test_what_upstream_holds_already_is_taken_at_the_first_sync(bench: Bench) -> None:
    bench.local("0001-tcp.patch", "tcp: ours", {"tcp.c": numbered(200, {20: "ours"})})
    bench.source.commit(
        "tcp: squashed with more", {"tcp.c": numbered(200, {20: "ours", 50: "theirs"}), "doc.txt": "x\n"}
    )
    bench.add()
    result = bench.sync()
    assert [one.by for one in result.taken] == [TakenBy.CONTENT]
    assert candidate(result) == result.record.head
    assert bench.queue() == []


def test_a_patch_new_to_the_queue_is_looked_for_in_older_commits(two: Bench) -> None:
    two.local("0003-doc.patch", "doc: ours", {"doc.txt": "words\nours\n"})
    commit = two.source.pick("local")
    for number in range(3):
        two.source.commit(f"more {number}", {"udp.c": numbered(50, {49: str(number)})})
    kept = (two.patches / "0003-doc.patch").read_bytes()
    (two.patches / "0003-doc.patch").unlink()
    two.sync()
    (two.patches / "0003-doc.patch").write_bytes(kept)
    assert [(one.by, one.commit) for one in two.sync().taken] == [(TakenBy.PATCH_ID, commit)]


def test_a_conflict_waits_and_is_resumed(two: Bench) -> None:
    before = candidate(two.sync())
    two.source.commit("tcp: clash", {"tcp.c": numbered(200, {100: "theirs"})})
    head = two.source.pick("local")  # udp: ours, so that one patch is taken in the sync that stops
    two.source.commit("more", {"doc.txt": "1\n"})
    head = two.source.head()
    result = two.sync()
    conflict = result.conflict
    assert conflict is not None
    assert (conflict.file_name, conflict.head, conflict.onto) == ("0001-tcp.patch", head, head)
    assert [(one.path, one.hunk) for one in conflict.places] == [("tcp.c", 2)]
    line = (two.patches / "0001-tcp.patch").read_text().split("\n")[conflict.places[0].line_no - 1]
    assert line.startswith("@@ -97,7")
    assert (candidate(result), result.record.head) == (before, head)
    assert two.queue() == ["0001-tcp.patch", "0002-udp.patch"]  # nothing is half done

    assert two.sync().conflict is not None  # tried again: still the same sync
    two.source.commit("upstream moves on meanwhile", {"doc.txt": "2\n"})
    two.local("0001-tcp.patch", "[net] tcp: ours", {"tcp.c": numbered(200, {20: "ours", 100: "both"})}, at=head)
    result = two.sync(resume=True)
    assert result.conflict is None
    assert result.record.candidate.upstream_commit == head  # what was resumed, not the newest
    assert two.read(candidate(result), "tcp.c") == numbered(200, {20: "ours", 100: "both"})
    assert [one.by for one in result.taken] == [TakenBy.PATCH_ID]
    last = result.record.history[-1]
    assert (last.conflicts, last.candidate) == (("0001-tcp.patch",), candidate(result))
    assert [len(one.conflicts) for one in result.record.history] == [0, 1]
    assert two.sync().new_commits == 1


def test_nothing_to_resume(two: Bench) -> None:
    with pytest.raises(UpstreamError, match="no conflict"):
        two.sync(resume=True)


@pytest.mark.parametrize(
    ("change", "words"),
    [({"tcp.c": None}, "no such file"), ({"new.c": "theirs\n"}, "already")],
)
def test_conflicts_of_whole_files(bench: Bench, change: dict[str, str | None], words: str) -> None:
    bench.local("0001-a.patch", "ours", {"tcp.c": numbered(200, {20: "ours"}), "new.c": "ours\n"})
    bench.source.commit("theirs", change)
    bench.add()
    result = bench.sync()
    assert result.conflict is not None
    assert any(words in place.why for place in result.conflict.places)


def test_a_patch_without_its_base_names_its_hunk(bench: Bench) -> None:
    bench.local("0001-a.patch", "ours", {"tcp.c": numbered(200, {20: "ours", 100: "ours"})})
    path = bench.patches / "0001-a.patch"
    lines = [
        line if not line.startswith("index ") else "index 1234567..89abcde 100644"
        for line in path.read_text().split("\n")
    ]
    path.write_text("\n".join(lines))
    bench.source.commit("theirs", {"tcp.c": numbered(200, {101: "theirs"})})
    bench.add()
    conflict = bench.sync().conflict
    assert conflict is not None
    assert [(one.path, one.hunk) for one in conflict.places] == [("tcp.c", 2)]


def test_upstream_renames_a_file_that_a_patch_touches(two: Bench) -> None:
    two.source.commit("move", {"tcp.c": None, "net/tcp.c": numbered(200, {180: "theirs"})})
    result = two.sync()
    assert result.conflict is None
    assert two.read(candidate(result), "net/tcp.c") == numbered(200, {20: "ours", 100: "ours", 180: "theirs"})
    assert result.record.candidate.patches[0].was_merged


def test_a_rewritten_branch_is_refused_until_accepted(two: Bench) -> None:
    two.source.commit("gone later", {"doc.txt": "1\n"})
    before = two.sync()
    two.source.branch("main", "HEAD~1")
    new = two.source.commit("instead", {"doc.txt": "2\n"})
    with pytest.raises(RewrittenError, match="--accept-rewrite"):
        two.sync()
    record = UpstreamFolder(root=two.tmp / "release", name=NAME).read()
    assert (record.candidate, record.head) == (before.record.candidate, before.record.head)
    assert two.sync(rewritten=True).record.candidate.upstream_commit == new


def test_lag_landing_and_stages_are_remembered(two: Bench) -> None:
    for number in range(5):
        two.source.commit(f"c{number}", {"doc.txt": f"{number}\n"})
    two.clock.advance(3600)
    record = two.sync().record
    entry = record.history[-1]
    assert (entry.lag_commits, entry.patches, entry.lag_s) == (5, 2, 7 * 3600.0)  # the local branches took two dates
    assert record.candidate.landed.count == 5
    assert [one.stage for one in record.reached] == [Stage.CANDIDATE] * 2
    root = two.tmp / "release"
    note_reached(root, NAME, record.candidate.commit, Stage.QUALIFIED, now_s=two.clock.now_s())
    note_reached(root, NAME, record.candidate.commit, Stage.QUALIFIED, now_s=two.clock.now_s() + 5)
    reached = UpstreamFolder(root=root, name=NAME).read().reached
    assert [(one.stage, one.at_s) for one in reached[2:]] == [(Stage.QUALIFIED, two.clock.now_s())]
    with pytest.raises(UpstreamError, match="no candidate"):
        note_reached(root, NAME, record.head, Stage.FLEET, now_s=0)


def test_the_queue_on_any_commit_for_a_bisection(two: Bench) -> None:
    middle = two.source.commit("middle", {"tcp.c": numbered(200, {180: "theirs"})})
    two.source.commit("clash", {"tcp.c": numbered(200, {100: "theirs"})})
    two.sync()
    made = candidate_at(two.tmp / "release", NAME, middle, work=two.tmp / "work", watch=lambda line: None, now_s=0)
    assert not isinstance(made, Conflict)
    assert two.read(made.commit, "tcp.c") == numbered(200, {20: "ours", 100: "ours", 180: "theirs"})
    assert list((two.tmp / "work").iterdir()) == []


def test_no_contents_are_fetched_that_nobody_asked_for(bench: Bench) -> None:
    bench.source.git.run("config", "uploadpack.allowFilter", "true")
    bench.source.git.run("config", "uploadpack.allowAnySHA1InWant", "true")
    bench.local("0001-tcp.patch", "tcp: ours", {"tcp.c": numbered(200, {20: "ours"})})
    bench.source.commit("tcp: theirs", {"tcp.c": numbered(200, {180: "theirs"})})
    bench.add(url=f"file://{bench.source.folder}")
    result = bench.sync()
    assert bench.read(candidate(result), "tcp.c") == numbered(200, {20: "ours", 180: "theirs"})
    _, mirror = open_mirror(bench.tmp / "release", NAME)
    there = mirror.git().run("cat-file", "--batch-all-objects", "--batch-check=%(objecttype)").lines
    assert there.count("commit") > 300
    assert there.count("blob") < 20
    mirror.check_out(candidate(result), bench.tmp / "tree")
    assert (bench.tmp / "tree" / "many" / "0" / "7.c").read_text() == "line 257\n"


@pytest.fixture
def mirror(two: Bench) -> tuple[Mirror, CommitId]:
    record, mirror = open_mirror(two.tmp / "release", NAME)
    assert record.candidate is not None
    return mirror, record.candidate.commit


def test_a_source_tree_changes_only_where_commits_differ(two: Bench, mirror: tuple[Mirror, CommitId]) -> None:
    source, commit = mirror
    tree = two.tmp / "trees" / "a"
    assert source.check_out(commit, tree) == source.facts([commit])[0].tree
    assert (tree / "tcp.c").read_text() == numbered(200, {20: "ours", 100: "ours"})
    assert not (tree / ".git").exists()
    (tree / "tcp.o").write_text("built")
    (tree / "udp.c").write_text("edited by hand")
    base = source.resolve(f"{commit}~2")
    source.check_out(base, tree)
    assert (tree / "tcp.c").read_text() == numbered(200)
    assert (tree / "udp.c").read_text() == numbered(50)
    assert (tree / "tcp.o").read_text() == "built"


def test_times_of_unchanged_files_stay(two: Bench, mirror: tuple[Mirror, CommitId]) -> None:
    source, commit = mirror
    tree = two.tmp / "tree"
    source.check_out(commit, tree)
    before = {path: path.stat().st_mtime_ns for path in tree.rglob("*.c")}
    source.check_out(source.resolve(f"{commit}~1"), tree)  # without the second patch
    changed = {path.name for path, mtime_ns in before.items() if path.stat().st_mtime_ns != mtime_ns}
    assert changed == {"udp.c"}


def test_a_checkout_that_was_killed_is_begun_afresh(two: Bench, mirror: tuple[Mirror, CommitId]) -> None:
    source, commit = mirror
    tree = two.tmp / "tree"
    source.check_out(commit, tree)
    (two.tmp / ".tree.index").rename(two.tmp / ".tree.index.working")
    (two.tmp / ".tree.index.working.lock").write_text("")
    (tree / "half.c").write_text("left")
    (tree / "tcp.c").unlink()
    source.check_out(commit, tree)
    assert not (tree / "half.c").exists()
    assert (tree / "tcp.c").read_text() == numbered(200, {20: "ours", 100: "ours"})


def test_a_folder_of_somebody_else_is_left_alone(two: Bench, mirror: tuple[Mirror, CommitId]) -> None:
    source, commit = mirror
    (two.tmp / "mine").mkdir()
    (two.tmp / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(RepositoryError, match="did not check out"):
        source.check_out(commit, two.tmp / "mine")
    assert (two.tmp / "mine" / "letter.txt").read_text() == "dear"
