"""A bare mirror of an upstream and what it answers: heads, ranges, ancestry, patch-ids, source trees.

No call walks the whole history: ranges are `old..new`, ancestry is `merge-base`. Where the server allows it the mirror
holds no file contents until they are asked for (partial clone), so some calls may use the network. Never changes a
branch: the only refs are ours, under `refs/headrace/`.
"""

import re
import shutil
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from headrace.base.clock import Clock
from headrace.upstream.model import CommitId, Landed, PatchId, commit_id, show_url
from headrace.upstream.queue import UpstreamCommit
from headrace.workshop.adapters.checkout import Checkout
from headrace.workshop.adapters.git import NETWORK_TIMEOUT_S, Git
from headrace.workshop.errors import RepositoryError

ASK_TIMEOUT_S = 60.0
"""To ask a server for its branches."""
PACKS_MOST = 50
"""Each fetch brings a pack, and every look-up asks all of them."""
FETCHED = "refs/headrace/fetched"
HEAD = "refs/headrace/head"
CONFLICT = "refs/headrace/conflict"
CANDIDATES = "refs/headrace/candidates"

_PARTIAL = {"remote.origin.promisor": "true", "remote.origin.partialclonefilter": "blob:none"}


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitFacts:
    """What a commit says of itself."""

    commit: CommitId
    parents: tuple[CommitId, ...]
    tree: CommitId
    author: str
    """As `Name <address>`."""
    committed_at_s: float
    subject: str


def ask_remote(url: str, branch: str | None) -> tuple[str, CommitId]:
    """The branch (the default one for None) and its head, without fetching anything.

    Raises:
        RepositoryError: unreachable, no repository, empty, or no such branch.
    """
    check_url(url)
    heads: dict[str, CommitId] = {}
    default = ""
    for line in Git(url=url).run("ls-remote", "--symref", "origin", timeout_s=ASK_TIMEOUT_S).lines:
        value, _, name = line.partition("\t")
        if value.startswith("ref: ") and name == "HEAD":
            default = value[len("ref: refs/heads/") :]
        elif name.startswith("refs/heads/"):
            heads[name[len("refs/heads/") :]] = commit_id(value)
    if not heads:
        raise RepositoryError(f"{show_url(url)} is an empty repository: it has no branch to follow")
    wanted = branch or default
    if wanted not in heads:
        some = ", ".join(sorted(heads)[:8]) + (", ..." if len(heads) > 8 else "")
        missing = f"has no branch {wanted!r}" if wanted else "has no default branch; name one with --branch"
        raise RepositoryError(f"{show_url(url)} {missing}; it has {some}")
    return wanted, heads[wanted]


def check_url(url: str) -> None:
    """Refuse what git would take for an option or a command.

    Raises:
        RepositoryError: no URL or path.
    """
    if not url.strip() or url.startswith("-") or re.match(r"[^/]*::", url) or not url.isprintable():
        raise RepositoryError(f"{show_url(url)!r} is neither the URL nor the path of a git repository")


def is_remote(url: str) -> bool:
    """Whether the URL leads through a transport (then a partial clone is asked for) rather than to a folder."""
    return re.match(r"[a-z][a-z0-9+.-]*://|[^/]+:", url, re.IGNORECASE) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """A bare repository on this disk that follows one upstream."""

    folder: Path
    url: str

    def git(self, *, work_tree: Path | None = None, index: Path | None = None) -> Git:
        """The program, bound to this mirror."""
        return Git(git_dir=self.folder, work_tree=work_tree, index=index, url=self.url, settings=self._settings())

    def git_in(self, tree: Path, settings: Mapping[str, str]) -> Git:
        """The program in a linked work tree of this mirror."""
        return Git(folder=tree, url=self.url, settings={**self._settings(), **settings})

    def _settings(self) -> Mapping[str, str]:
        return _PARTIAL if is_remote(self.url) else {}

    def create(self) -> None:
        """Make it if it is not there; whole or not at all."""
        if self.folder.exists():
            return
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        new = self.folder.with_name(f".{self.folder.name}.new")
        shutil.rmtree(new, ignore_errors=True)
        Git().run("init", "--quiet", "--bare", "--template=", "--initial-branch=none", str(new))
        new.rename(self.folder)

    def clean(self) -> None:
        """Remove what a killed git left behind. Only for the holder of the upstream's lock."""
        for pattern in ("*.lock", "refs/headrace/**/*.lock", "objects/pack/tmp_*", "objects/??/tmp_obj_*"):
            for left in self.folder.glob(pattern):
                left.unlink(missing_ok=True)
        if self.folder.exists():
            self.git().run("worktree", "prune", "--expire=now")

    def fetch(self, branch: str, *, watch: Callable[[str], None], clock: Clock) -> CommitId:
        """Fetch the branch; its head. The heads that were there stay.

        Raises:
            RepositoryError: unreachable, no repository, empty, or no such branch.
        """
        filters = ("--filter=blob:none",) if is_remote(self.url) else ()
        try:
            self.git().run_watched(
                *("fetch", "--progress", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules"),
                *(*filters, "origin", f"+refs/heads/{branch}:{FETCHED}"),
                watch=watch,
                clock=clock,
            )
        except RepositoryError as error:
            if "couldn't find remote ref" in str(error):
                ask_remote(self.url, branch)  # says whether it is empty, and which branches there are
            raise
        return self.resolve(FETCHED)

    def resolve(self, revision: str) -> CommitId:
        """The commit that a revision names.

        Raises:
            RepositoryError: there is none.
        """
        words = ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
        found = self.git().run(*words, may_fail=(1, 128))
        if found.code:
            raise RepositoryError(f"{revision[:80]!r} is no commit of {show_url(self.url)}; sync, or look at its name")
        return commit_id(found.text)

    def facts(self, commits: Iterable[CommitId]) -> tuple[CommitFacts, ...]:
        """What commits say of themselves, in the order given."""
        return self._log("--no-walk=unsorted", *commits)

    def between(self, old: CommitId, new: CommitId, *, is_first_parent: bool = False) -> tuple[CommitFacts, ...]:
        """The commits of `old..new`, oldest first, parents before children; for bisection and for `release where`."""
        first_parent = ("--first-parent",) if is_first_parent else ()
        return self._log("--topo-order", "--reverse", *first_parent, f"{old}..{new}")

    def count(self, old: CommitId, new: CommitId) -> int:
        """How many commits `new` has that `old` has not."""
        return int(self.git().run("rev-list", "--count", f"{old}..{new}").text)

    def is_ancestor(self, old: CommitId, new: CommitId) -> bool:
        """Whether `new` holds `old` (a commit holds itself)."""
        return self.git().run("merge-base", "--is-ancestor", old, new, may_fail=(1,)).code == 0

    def fork_point(self, one: CommitId, other: CommitId) -> CommitId | None:
        """The newest commit that both hold; None when they have nothing in common."""
        found = self.git().run("merge-base", one, other, may_fail=(1,))
        return commit_id(found.lines[0]) if found.code == 0 else None

    def back(self, commit: CommitId, steps: int) -> CommitId | None:
        """The commit `steps` first parents before, or the first where history is shorter; None for the first itself."""
        seen = self.git().run("rev-list", "--first-parent", f"--max-count={steps + 1}", commit).lines
        return commit_id(seen[-1]) if len(seen) > 1 else None

    def touching(self, old: CommitId, new: CommitId, paths: Sequence[str]) -> tuple[UpstreamCommit, ...]:
        """Commits of `old..new`, without merges, that touch one of `paths`, newest first, each with all it touches."""
        if not paths:
            return ()
        said = self.git().run(
            *("log", "--no-merges", "--full-diff", "--name-only", "--no-renames", "-z", "--format=%x00%x00%H%x00%s"),
            *(f"{old}..{new}", "--", *(f":(literal,top){path}" for path in paths)),
        )
        return tuple(_read_touching(said.text.split("\0")))

    def patch_ids(self, commits: Sequence[CommitId]) -> dict[CommitId, PatchId]:
        """The stable patch-id of each commit's change; a commit without a text change has none."""
        if not commits:
            return {}
        diffs = self.git().run(
            *("diff-tree", "--stdin", "-p", "-M", "--root", "--no-ext-diff", "--no-textconv"),
            stdin="".join(f"{commit}\n" for commit in commits).encode(),
            timeout_s=NETWORK_TIMEOUT_S,
        )
        pairs = (line.split() for line in self._patch_id(diffs.out))
        return {commit_id(commit): PatchId(patch_id) for patch_id, commit in pairs}

    def changed_paths(self, old: CommitId, new: CommitId) -> dict[CommitId, tuple[str, ...]]:
        """The files that each commit of `old..new` touches; of a merge only those that were merged by hand.

        Asks for no file contents.
        """
        said = self.git().run(
            "log", "--cc", "--name-only", "--no-renames", "-z", "--format=%x01%H%x01", f"{old}..{new}"
        )
        _, *parts = said.text.split("\x01")
        return {
            commit_id(name): tuple(path for one in paths.split("\0") if (path := one.removeprefix("\n")))
            for name, paths in zip(parts[::2], parts[1::2], strict=True)
        }

    def diff_of(self, commit: CommitId) -> str:
        """The text of a commit's change; of a merge only what was merged by hand."""
        words = ("diff-tree", "--no-commit-id", "--cc", "-p", "-M", "--root", "--no-ext-diff", "--no-textconv")
        return self.git().run(*words, commit, timeout_s=NETWORK_TIMEOUT_S).text

    def held_candidates(self) -> tuple[CommitId, ...]:
        """Candidate commits that are still held, in no order."""
        return tuple(
            commit_id(name) for name in self.git().run("for-each-ref", "--format=%(objectname)", CANDIDATES).lines
        )

    def patch_id_of(self, body: bytes) -> PatchId | None:
        """The stable patch-id of a patch file."""
        return patch_id_of(body, self.git())

    def landed(self, old: CommitId | None, new: CommitId) -> Landed:
        """When the commits of `old..new` landed on the branch; without `old` the head alone counts."""
        span = (f"{old}..{new}",) if old else ("--max-count=1", new)
        moments = self.git().run("log", "--first-parent", "--format=%ct", *span).lines
        moments = moments or self.git().run("log", "--max-count=1", "--format=%ct", new).lines
        seconds = sorted(float(moment) for moment in moments)
        return Landed(
            count=self.count(old, new) if old else 1,
            oldest_s=seconds[0],
            median_s=statistics.median(seconds),
            newest_s=seconds[-1],
        )

    def keep(self, reference: str, commit: CommitId) -> None:
        """Hold a commit under one of our refs, so that tidying never removes it."""
        self.git().run("update-ref", reference, commit)

    def keep_candidate(self, commit: CommitId) -> None:
        """Hold a candidate commit until `let_go`."""
        self.keep(f"{CANDIDATES}/{commit}", commit)

    def tidy(self) -> None:
        """Pack what many fetches left in pieces; does nothing most of the time."""
        if len(list(self.folder.glob("objects/pack/*.pack"))) > PACKS_MOST:
            self.git().run("gc", "--quiet", timeout_s=NETWORK_TIMEOUT_S)

    def let_go(self, keep: Iterable[CommitId]) -> None:
        """Release all held candidate commits but these."""
        wanted = set(keep)
        held = self.git().run("for-each-ref", "--format=%(refname:lstrip=3)", CANDIDATES).lines
        gone = "".join(f"delete {CANDIDATES}/{name}\n" for name in held if name not in wanted)
        if gone:
            self.git().run("update-ref", "--stdin", stdin=gone.encode())

    def check_out(self, commit: CommitId, folder: Path) -> CommitId:
        """Make the tracked files in `folder` those of `commit`, touching only what differs; the source tree's name.

        Other files (a build's) stay, and so do the times of unchanged files: an incremental build works. Nothing of
        git lies in the folder; the index is beside it. Killed half-way, the next call starts afresh.

        Raises:
            RepositoryError: no such commit, the disk is full, or `folder` is not ours.
            BusyError: another process checks out there.
        """
        Checkout(folder=folder).put(commit, lambda tree, index: self.git(work_tree=tree, index=index))
        return self.facts([commit])[0].tree

    def _log(self, *words: str) -> tuple[CommitFacts, ...]:
        said = self.git().run("log", "-z", "--format=%H%x00%P%x00%T%x00%an <%ae>%x00%ct%x00%s", *words, "--").text
        fields = said.split("\0")
        return tuple(
            CommitFacts(
                commit=commit_id(fields[at]),
                parents=tuple(commit_id(parent) for parent in fields[at + 1].split()),
                tree=commit_id(fields[at + 2]),
                author=fields[at + 3],
                committed_at_s=float(fields[at + 4]),
                subject=fields[at + 5],
            )
            for at in range(0, len(fields) - 5, 6)
        )

    def _patch_id(self, diffs: bytes) -> tuple[str, ...]:
        return self.git().run("patch-id", "--stable", stdin=diffs).lines


def patch_id_of(body: bytes, git: Git) -> PatchId | None:
    """The stable patch-id of a patch file; None where it changes no text."""
    lines = git.run("patch-id", "--stable", stdin=body).lines
    return PatchId(lines[0].split()[0]) if lines else None


def _read_touching(tokens: Sequence[str]) -> Iterator[UpstreamCommit]:
    """Records of `log -z`: empty, empty, commit, subject, then the names, the first after a line feed."""
    at = 0
    while at < len(tokens):
        if not tokens[at]:
            at += 1
            continue
        end = at + 2
        while end < len(tokens) and tokens[end]:
            end += 1
        paths = [name.removeprefix("\n") for name in tokens[at + 2 : end]]
        paths = sorted(name for name in paths if name)
        yield UpstreamCommit(commit=commit_id(tokens[at]), subject=tokens[at + 1], paths=tuple(paths))
        at = end
