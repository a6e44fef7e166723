"""What a sync decides about the patch queue: which patches upstream has taken, where one conflicts, names, history.

Pure: commits, patch-ids and git's messages come from `workshop`. Never drops a patch without saying how it was
recognised.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from headrace.upstream.model import (
    CommitId,
    ConflictPlace,
    Hunk,
    Patch,
    PatchId,
    PatchQueue,
    Reached,
    SyncEntry,
    Taken,
    TakenBy,
)
from headrace.upstream.patches import clean_subject

HISTORY_MOST = 1000
"""Syncs remembered: three years of daily ones in some hundred kilobytes."""
REACHED_MOST = 3 * HISTORY_MOST
"""Each of the syncs remembered may reach all three stages."""
TAKEN_MOST = 1000
"""Taken patches remembered; the files stay in `taken/`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamCommit:
    """A commit of upstream that touches a file of the queue; merges are left out."""

    commit: CommitId
    subject: str
    paths: tuple[str, ...]
    """All files it touches, sorted, both names of a rename."""


def possibly_taken(queue: PatchQueue, commits: Iterable[UpstreamCommit]) -> tuple[CommitId, ...]:
    """Commits whose patch-id is worth computing: only the same set of files can be the same change."""
    wanted = {patch.paths for patch in queue.patches}
    return tuple(one.commit for one in commits if one.paths in wanted)


def find_taken(
    queue: PatchQueue,
    commits: Sequence[UpstreamCommit],
    *,
    patch_ids: Mapping[CommitId, PatchId],
    own_ids: Mapping[str, frozenset[PatchId]],
    decided: Iterable[Taken],
    now_s: float,
) -> tuple[Taken, ...]:
    """Which patches upstream has, in the order of the queue.

    Args:
        commits: newest first, as git lists them.
        patch_ids: of the commits named by `possibly_taken`.
        own_ids: of each patch, by file name: as its file says and as it was last applied.
        decided: patches taken earlier. One that was put back under the same subject is wanted by somebody: the same
            commit does not take it by subject again.
    """
    by_id = {patch_id: commit for commit, patch_id in patch_ids.items()}
    earlier = {(one.subject, one.commit) for one in decided}
    found: list[Taken] = []
    for patch in queue.patches:
        same = next((by_id[own] for own in sorted(own_ids.get(patch.file_name, ())) if own in by_id), None)
        if same is not None:
            found.append(_taken(patch, TakenBy.PATCH_ID, same, now_s))
            continue
        alike = next((one.commit for one in commits if _is_alike(patch, one)), None)
        if alike is not None and (patch.subject, alike) not in earlier:
            found.append(_taken(patch, TakenBy.SUBJECT, alike, now_s))
    return tuple(found)


def taken_by_content(patch: Patch, *, now_s: float) -> Taken:
    """A patch that changes nothing on the new head."""
    return _taken(patch, TakenBy.CONTENT, None, now_s)


def conflict_places(patch: Patch, *, combined_diff: str, refusals: str) -> tuple[ConflictPlace, ...]:
    """Where a patch does not fit, in the order of the patch; at least one place.

    Args:
        combined_diff: `git diff` of the unmerged files after a three-way merge ('' when none was possible).
        refusals: what `git apply --check --reject --verbose` said on the head without the patch.
    """
    hunks = _clashing(patch, combined_diff)
    why = "upstream changed the same lines"
    if not hunks:
        hunks = _refused(patch, refusals)
        why = "upstream's lines are not those that the hunk expects"
    places = [ConflictPlace(path=hunk.path, hunk=hunk.number, line_no=hunk.line_no, why=why) for hunk in hunks]
    for path, fault in re.findall(
        r"^error: (.+): (No such file or directory|already exists .*)$", refusals, re.MULTILINE
    ):
        why = "upstream has no such file (any more)" if fault.startswith("No") else "upstream has such a file already"
        places.append(ConflictPlace(path=path, hunk=None, line_no=None, why=why))
    return tuple(places) or tuple(
        ConflictPlace(path=path, hunk=None, line_no=None, why="git cannot apply this change") for path in patch.paths
    )


def next_file_name(existing: Iterable[str], subject: str) -> str:
    """A name that sorts behind all others, as `git format-patch` would write it."""
    numbers = [int(match[1]) for name in existing if (match := re.match(r"(\d{1,6})-", name))]
    slug = re.sub(r"[^A-Za-z0-9_.]+", "-", clean_subject(subject)).strip("-.")[:52].rstrip("-.")
    return f"{max(numbers, default=0) + 1:04d}-{slug or 'patch'}.patch"


def with_entry(history: Sequence[SyncEntry], entry: SyncEntry, *, resumes: bool) -> tuple[SyncEntry, ...]:
    """The history with one more sync; an attempt to resume continues the entry that it resumes."""
    if resumes and history:
        before = history[-1]
        entry = replace(
            before,
            at_s=entry.at_s,
            patches=entry.patches,
            queue_lines=entry.queue_lines,
            conflicts=tuple(dict.fromkeys((*before.conflicts, *entry.conflicts))),
            taken=before.taken + entry.taken,
            candidate=entry.candidate,
        )
        history = history[:-1]
    return (*history, entry)[-HISTORY_MOST:]


def with_reached(reached: Sequence[Reached], new: Reached) -> tuple[Reached, ...]:
    """What was reached, with one more; the first time counts."""
    if any(one.commit == new.commit and one.stage is new.stage for one in reached):
        return tuple(reached)
    return (*reached, new)[-REACHED_MOST:]


def _taken(patch: Patch, by: TakenBy, commit: CommitId | None, now_s: float) -> Taken:
    return Taken(
        file_name=patch.file_name, sha256=patch.sha256, subject=patch.subject, by=by, commit=commit, at_s=now_s
    )


def _is_alike(patch: Patch, commit: UpstreamCommit) -> bool:
    return clean_subject(commit.subject) == patch.subject and not set(patch.paths).isdisjoint(commit.paths)


def _clashing(patch: Patch, combined_diff: str) -> list[Hunk]:
    """Hunks whose outcome lies within a conflict of the merge."""
    ranges = _conflict_ranges(combined_diff)
    return [
        hunk
        for hunk in patch.hunks
        if any(
            first < hunk.new_start + max(hunk.new_lines, 1) and last >= hunk.new_start - 1
            for first, last in ranges.get(hunk.path, ())
        )
    ]


def _refused(patch: Patch, refusals: str) -> list[Hunk]:
    refused = set(re.findall(r"^error: patch failed: (.+):(\d+)$", refusals, re.MULTILINE))
    return [hunk for hunk in patch.hunks if (hunk.path, str(hunk.old_start)) in refused]


def _conflict_ranges(combined_diff: str) -> dict[str, list[tuple[int, int]]]:
    """First and last line of each conflict, counted in the patch's own version of the file (the second parent).

    A combined diff has a column for each parent: a line is in the second parent unless the second column says that it
    was added (`+`), or the first says that it was taken from the first parent alone (`-` and then a blank).
    """
    ranges: dict[str, list[tuple[int, int]]] = {}
    path, line_no, begun = "", 0, 0
    for line in combined_diff.split("\n"):
        if line.startswith("diff --cc "):
            path = line[len("diff --cc ") :]
        elif match := re.match(r"@@@ -\S+ -(\d+)\S* \+", line):
            line_no = int(match[1])
        elif line.startswith("++<<<<<<< "):
            begun = line_no
        elif line.startswith("++>>>>>>> ") and begun:
            ranges.setdefault(path, []).append((begun, max(begun, line_no - 1)))
            begun = 0
        elif line[:2] in ("  ", "+ ", " -", "--"):
            line_no += 1
    return ranges
