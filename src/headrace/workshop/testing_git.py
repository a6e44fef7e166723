"""Builders of real git repositories for tests and benchmarks: fixed identities and dates, so that names repeat."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from headrace.upstream.model import CommitId, Reason, commit_id
from headrace.upstream.patches import mark_patch
from headrace.workshop.adapters.git import Git

START_S = 1_790_000_000
"""Date of the first commit; each next one is an hour later."""
STEP_S = 3600
SINCE = date(2026, 9, 1)
"""Since when the patches made here are local."""


@dataclass(slots=True, kw_only=True)
class SourceRepository:
    """A repository with a work tree, as a developer of upstream has it."""

    folder: Path
    commits: int = 0
    git: Git = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        self.git = Git(folder=self.folder)
        self.git.run("init", "--quiet", "--template=", "--initial-branch=main", str(self.folder))

    def commit(self, subject: str, files: Mapping[str, str | bytes | None]) -> CommitId:
        """Write files (None deletes one) and commit them."""
        for name, content in files.items():
            path = self.folder / name
            if content is None:
                path.unlink()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        self.git.run("add", "--all")
        self.git.run("commit", "--quiet", "--allow-empty", "--message", subject, environment=self._dates())
        return self.head()

    def head(self, revision: str = "HEAD") -> CommitId:
        return commit_id(self.git.run("rev-parse", revision).text)

    def branch(self, name: str, at: str = "HEAD") -> None:
        """Make (or move) a branch and check it out."""
        self.git.run("checkout", "--quiet", "-B", name, at)

    def switch(self, name: str) -> None:
        self.git.run("checkout", "--quiet", name)

    def pick(self, revision: str) -> CommitId:
        """Take a commit onto the branch, as a maintainer takes a patch."""
        self.git.run("cherry-pick", revision, environment=self._dates())
        return self.head()

    def patch(self, revision: str = "HEAD", *, reason: Reason = Reason.DEVELOPMENT, sent: str | None = None) -> bytes:
        """A commit as a patch file with our headers."""
        body = self.git.run("format-patch", "--stdout", "--binary", "-1", revision).out
        return mark_patch("a.patch", body, reason=reason, sent=sent, since=SINCE)

    def grow(self, commits: int, *, files: int = 50) -> CommitId:
        """Many commits at once, each to one file of `many/*/`, with `git fast-import`."""
        self.git.run("fast-import", "--quiet", stdin=self._stream(commits, files).encode())
        self.commits += commits
        self.git.run("reset", "--quiet", "--hard", "HEAD")
        return self.head()

    def _stream(self, commits: int, files: int) -> str:
        parts: list[str] = []
        branch = self.git.run("symbolic-ref", "HEAD").text
        for number in range(commits):
            subject, text = f"many: change {number}", f"line {number}\n"
            at_s = START_S + (self.commits + number) * STEP_S
            parts.append(
                f"commit {branch}\ncommitter Up <up@example.org> {at_s} +0000\ndata {len(subject)}\n{subject}\n"
                + (f"from {branch}^0\n" if number == 0 and self.commits else "")
                + f"M 100644 inline many/{number % files // 50}/{number % 50}.c\ndata {len(text)}\n{text}\n"
            )
        return "".join(parts)

    def _dates(self) -> dict[str, str]:
        moment = f"{START_S + self.commits * STEP_S} +0000"
        self.commits += 1
        person = {"GIT_AUTHOR_NAME": "Up", "GIT_AUTHOR_EMAIL": "up@example.org"}
        return {**person, "GIT_AUTHOR_DATE": moment, "GIT_COMMITTER_DATE": moment}


def numbered(count: int, changed: Mapping[int, str] | None = None) -> str:
    """A file of numbered lines, some changed: {3: 'ours'} makes line 3 `line 3 ours`."""
    extra = changed or {}
    return "".join(f"line {number}{' ' + extra[number] if number in extra else ''}\n" for number in range(1, count + 1))
