"""Taken patches are recognised and said; a conflict is put down to its hunks; history is bounded, names are stable."""

import pytest

from headrace.upstream.model import CommitId, Hunk, PatchId, PatchQueue, Reached, Stage, TakenBy
from headrace.upstream.queue import (
    HISTORY_MOST,
    UpstreamCommit,
    conflict_places,
    find_taken,
    next_file_name,
    possibly_taken,
    taken_by_content,
    with_entry,
    with_reached,
)
from headrace.upstream.testing import NOW_S, commit_named, make_entry, make_landed, make_patch

SAME = PatchId("5" * 40)


def commit(name: str, *paths: str) -> UpstreamCommit:
    return UpstreamCommit(commit=commit_named(name), subject=name, paths=paths or ("net/tcp.c",))


def taken(
    patches: tuple[str, ...], commits: list[UpstreamCommit], **options: object
) -> list[tuple[str, str, CommitId | None]]:
    queue = PatchQueue(patches=tuple(make_patch(name) for name in patches))
    values = {"patch_ids": {}, "own_ids": {}, "decided": (), "now_s": NOW_S, **options}
    return [(one.subject, one.by, one.commit) for one in find_taken(queue, commits, **values)]


def test_the_same_change_is_taken_whatever_its_subject() -> None:
    own = {"a.patch": frozenset({SAME}), "b.patch": frozenset({PatchId("6" * 40)})}
    found = taken(("a", "b"), [commit("other words")], patch_ids={commit_named("other words"): SAME}, own_ids=own)
    assert found == [("a", TakenBy.PATCH_ID, commit_named("other words"))]


def test_the_same_subject_on_a_file_of_the_patch_is_taken_with_a_note() -> None:
    assert taken(("a",), [commit("a")]) == [("a", TakenBy.SUBJECT, commit_named("a"))]
    assert taken(("a",), [commit("a", "doc/x")]) == []
    queue = PatchQueue(patches=(make_patch("a"),))
    (one,) = find_taken(queue, [commit("a")], patch_ids={}, own_ids={}, decided=(), now_s=NOW_S)
    assert "other contents" in one.note
    assert commit_named("a")[:12] in one.note


def test_a_patch_put_back_is_not_taken_again_by_the_same_subject() -> None:
    queue = PatchQueue(patches=(make_patch("a"),))
    first = find_taken(queue, [commit("a")], patch_ids={}, own_ids={}, decided=(), now_s=NOW_S)
    assert taken(("a",), [commit("a")], decided=first) == []


def test_only_commits_with_the_files_of_a_patch_are_compared() -> None:
    queue = PatchQueue(patches=(make_patch("a", paths=("x", "y")), make_patch("b")))
    commits = [commit("one", "x", "y"), commit("two", "x"), commit("three"), commit("four", "net/tcp.c", "x")]
    assert possibly_taken(queue, commits) == (commit_named("one"), commit_named("three"))


def test_what_upstream_holds_already_needs_no_commit() -> None:
    one = taken_by_content(make_patch("a"), now_s=NOW_S)
    assert (one.by, one.commit) == (TakenBy.CONTENT, None)
    assert "already hold" in one.note


def hunk(number: int, old: int, new: int, count: int = 7, path: str = "f") -> Hunk:
    return Hunk(
        path=path, number=number, old_start=old, new_start=new, new_lines=count, line_no=10 * number, header="@@"
    )


THREE = make_patch("a", paths=("f", "g"), hunks=(hunk(1, 17, 17), hunk(2, 97, 98), hunk(3, 177, 178)))
MERGED = """\
diff --cc f
index e3b0d5d,8722814..0000000
--- a/f
+++ b/f
@@@ -97,7 -98,7 +97,11 @@@
  97
  98
  99
++<<<<<<< HEAD
 +100 theirs
++=======
+ 100 ours
++>>>>>>> a
  101
  102
  103
"""
REFUSED = """\
Checking patch f...
error: while searching for:
97
error: patch failed: f:97
error: patch failed: f:177
Checking patch g...
error: g: No such file or directory
"""


def test_a_merge_that_clashes_names_its_hunks_only() -> None:
    places = conflict_places(
        THREE, combined_diff=MERGED, refusals="error: patch failed: f:97\nerror: patch failed: f:177\n"
    )
    assert [(one.path, one.hunk, one.line_no) for one in places] == [("f", 2, 20)]


def test_without_a_merge_the_refused_hunks_are_named() -> None:
    places = conflict_places(THREE, combined_diff="", refusals=REFUSED)
    assert [(one.path, one.hunk) for one in places] == [("f", 2), ("f", 3), ("g", None)]
    assert "no such file" in places[-1].why


def test_a_conflict_has_at_least_one_place() -> None:
    assert [one.path for one in conflict_places(THREE, combined_diff="", refusals="what?")] == ["f", "g"]


@pytest.mark.parametrize(("first", "clashing"), [(17, [1]), (20, [1]), (40, []), (178, [3]), (186, []), (95, [])])
def test_ranges_of_conflicts_and_hunks(first: int, clashing: list[int]) -> None:
    diff = f"diff --cc f\n@@@ -1,1 -{first},1 +1,5 @@@\n++<<<<<<< HEAD\n +x\n++=======\n+ y\n++>>>>>>> a\n"
    found = [one.hunk for one in conflict_places(THREE, combined_diff=diff, refusals="") if one.hunk]
    assert found == clashing


@pytest.mark.parametrize(
    ("existing", "subject", "name"),
    [
        ((), "[PATCH] tcp: free it", "0001-tcp-free-it.patch"),
        (("0002-a.patch", "0010-b.patch", "note.patch"), "ünï/..", "0011-n.patch"),
        ((), "///", "0001-patch.patch"),
        ((), "x" * 99, "0001-" + "x" * 52 + ".patch"),
    ],
)
def test_names_sort_behind(existing: tuple[str, ...], subject: str, name: str) -> None:
    assert next_file_name(existing, subject) == name


def test_a_resumed_sync_is_one_sync() -> None:
    history = with_entry((), make_entry(0), resumes=False)
    history = with_entry(history, make_entry(1, conflicts=("a",), candidate=None), resumes=False)
    history = with_entry(history, make_entry(2, conflicts=("b",), candidate=None), resumes=True)
    history = with_entry(history, make_entry(3, taken=1), resumes=True)
    assert len(history) == 2
    last = history[-1]
    assert (last.conflicts, last.taken, last.candidate) == (("a", "b"), 1, commit_named("candidate 3"))
    assert last.head == commit_named("head 1")


def test_the_history_is_bounded() -> None:
    history = tuple(make_entry(0) for _ in range(HISTORY_MOST))
    assert len(with_entry(history, make_entry(1), resumes=False)) == HISTORY_MOST


def test_a_stage_is_reached_once() -> None:
    first = Reached(commit=commit_named("c"), stage=Stage.QUALIFIED, at_s=NOW_S, landed=make_landed(NOW_S))
    later = Reached(commit=commit_named("c"), stage=Stage.QUALIFIED, at_s=NOW_S + 5, landed=make_landed(NOW_S))
    assert with_reached(with_reached((), first), later) == (first,)
