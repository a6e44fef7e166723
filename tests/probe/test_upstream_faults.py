"""Whatever goes wrong, the last good state stays: kill -9 before any git call, full disk, bad input, two at once."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from headrace.base.clock import ManualClock
from headrace.base.errors import HeadraceError
from headrace.upstream.errors import PatchError, UpstreamError
from headrace.upstream.model import UpstreamName, UpstreamRecord
from headrace.workshop.adapters.records import UpstreamFolder, upstream_names
from headrace.workshop.errors import BusyError, RepositoryError, WorkshopError
from headrace.workshop.repository import Mirror
from headrace.workshop.sync import SyncResult, add_upstream, sync_upstream
from headrace.workshop.testing_git import START_S, SourceRepository, numbered

NAME = UpstreamName("up")
CLOCK = ManualClock(START_S + 1000 * 3600.0)


def sync(root: Path, *, resume: bool = False) -> SyncResult:
    return sync_upstream(root, NAME, clock=CLOCK, watch=lambda line: None, is_resume=resume)


def state(root: Path) -> tuple[UpstreamRecord, dict[str, bytes]]:
    record = UpstreamFolder(root=root, name=NAME).read()
    folder = Path(record.upstream.patches)
    return record, {path.name: path.read_bytes() for path in sorted(folder.glob("*.patch"))}


@pytest.fixture
def source(tmp_path: Path) -> SourceRepository:
    source = SourceRepository(folder=tmp_path / "source")
    source.commit("base", {"tcp.c": numbered(200), "udp.c": numbered(50), "doc.txt": "words\n"})
    return source


@pytest.fixture
def root(tmp_path: Path, source: SourceRepository) -> Path:
    """An upstream with two patches, synced once."""
    patches = tmp_path / "patches"
    patches.mkdir()
    for number, (name, count) in enumerate((("tcp.c", 200), ("udp.c", 50)), start=1):
        source.branch("local", "main")
        source.commit(f"{name}: ours", {name: numbered(count, {20: "ours"})})
        (patches / f"000{number}-{name}.patch").write_bytes(source.patch())
        source.switch("main")
    root = tmp_path / "release"
    add_upstream(root, NAME, str(source.folder), branch=None, patches=patches, now_s=CLOCK.now_s())
    sync(root)
    return root


def shim(folder: Path, kill_at: int) -> Path:
    """A `git` that kills who calls it before the call with this number."""
    folder.mkdir(exist_ok=True)
    count = folder / "count"
    count.write_text("0")
    program = folder / "git"
    program.write_text(
        f"#!/bin/sh\nread n < {count}; n=$((n + 1)); echo $n > {count}\n"
        f'if [ "$n" = {kill_at} ]; then kill -9 $PPID; exit 1; fi\nexec {shutil.which("git")} "$@"\n'
    )
    program.chmod(0o755)
    return folder


def sync_in_child(root: Path, programs: Path) -> int:
    """Run a sync in a process of its own; how it ended."""
    child = os.fork()
    if child == 0:
        os.environ["PATH"] = f"{programs}:{os.environ['PATH']}"
        try:
            sync(root)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_killed_before_any_git_call_a_sync_leaves_the_last_good_state(
    root: Path, source: SourceRepository, tmp_path: Path
) -> None:
    source.commit("tcp: theirs", {"tcp.c": numbered(200, {180: "theirs"})})
    source.pick("local")  # upstream takes the second patch
    source.commit("more", {"doc.txt": "1\n"})
    before, patches = state(root)
    kill_at = 0
    while True:
        kill_at += 1
        ended = sync_in_child(root, shim(tmp_path / "bin", kill_at))
        now, now_patches = state(root)
        if ended == 0:
            break
        assert ended == -signal.SIGKILL
        if now.candidate != before.candidate:  # killed after the moment it came into force
            break
        assert now == before
        assert now_patches == patches
    assert kill_at > 15
    result = sync(root)
    assert result.record.candidate.upstream_commit == source.head("main")
    record, rest = state(root)
    assert list(rest) == ["0001-tcp.c.patch"]
    assert record.leaving == ()
    assert [path.name for path in (tmp_path / "patches" / "taken").iterdir()] == ["0002-udp.c.patch"]
    mirror = Mirror(folder=UpstreamFolder(root=root, name=NAME).mirror, url="")
    assert len(mirror.git().run("worktree", "list").lines) == 1
    assert list(UpstreamFolder(root=root, name=NAME).path.glob("work/*")) == []


def test_a_move_that_was_interrupted_is_finished(root: Path, source: SourceRepository, tmp_path: Path) -> None:
    source.pick("local")
    place = UpstreamFolder(root=root, name=NAME)
    kept = {path.name: path.read_bytes() for path in (tmp_path / "patches").glob("*.patch")}
    taken = sync(root).taken
    (tmp_path / "patches" / "0002-udp.c.patch").write_bytes(kept["0002-udp.c.patch"])
    record = place.read()
    place.write(type(record)(**{**{name: getattr(record, name) for name in record.__slots__}, "leaving": taken}))
    assert not sync(root).is_changed
    assert list(state(root)[1]) == ["0001-tcp.c.patch"]


def test_locks_that_a_killed_git_left_are_no_obstacle(root: Path, source: SourceRepository) -> None:
    source.commit("more", {"doc.txt": "1\n"})
    mirror = UpstreamFolder(root=root, name=NAME).mirror
    for name in ("config.lock", "packed-refs.lock", "refs/headrace/fetched.lock", "refs/headrace/head.lock"):
        (mirror / name).write_text("")
    assert sync(root).is_changed


def test_a_second_sync_is_refused_and_says_who_runs(root: Path) -> None:
    place = UpstreamFolder(root=root, name=NAME)
    with place.locked(), pytest.raises(BusyError, match=f"process {os.getpid()}"):
        sync(root)
    sync(root)


@pytest.mark.root
def test_a_full_disk_leaves_the_last_good_state(source: SourceRepository, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(small)], check=True, timeout=10)
    try:
        add_upstream(small / "release", NAME, str(source.folder), branch=None, patches=None, now_s=0)
        sync(small / "release")
        before = state(small / "release")
        source.commit("large", {"large.bin": os.urandom(8 << 20)})
        with pytest.raises(WorkshopError, match=r"disk is full|No space left"):
            sync(small / "release")
        assert state(small / "release") == before
        (small / "ballast").write_bytes(bytes(shutil.disk_usage(small).free))
        with pytest.raises(WorkshopError, match=r"disk is full|No space left"):
            sync(small / "release")
        assert state(small / "release") == before
        (small / "ballast").unlink()
        source.branch("main", "HEAD~1")
        source.commit("small", {"doc.txt": "1\n"})
        assert sync(small / "release").is_changed
    finally:
        subprocess.run(["umount", "--lazy", str(small)], check=True, timeout=10)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("{tmp}/empty", "no git repository"),
        ("{tmp}/nothing", "no git repository"),
        ("{tmp}/file", "no git repository"),
        ("http://user:secret@127.0.0.1:9/x.git", "cannot be reached"),
        ("git://127.0.0.1:9/x", "cannot be reached"),
        ("ext::sh -c true", "neither"),
        ("--upload-pack=true", "neither"),
        ("", "neither"),
        ("{tmp}/bare", "empty repository"),
    ],
)
def test_a_url_that_leads_nowhere(tmp_path: Path, url: str, words: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    subprocess.run(["git", "init", "--quiet", "--bare", str(tmp_path / "bare")], check=True, timeout=10)
    with pytest.raises(RepositoryError, match=words) as refusal:
        add_upstream(tmp_path / "r", NAME, url.format(tmp=tmp_path), branch=None, patches=None, now_s=0)
    assert "secret" not in str(refusal.value)
    assert upstream_names(tmp_path / "r") == ()


def test_a_branch_that_is_not_there_names_those_that_are(tmp_path: Path, source: SourceRepository) -> None:
    source.branch("stable-1")
    with pytest.raises(RepositoryError, match="no branch 'devel'; it has main, stable-1"):
        add_upstream(tmp_path / "r", NAME, str(source.folder), branch="devel", patches=None, now_s=0)


def test_names_and_folders_at_the_start(tmp_path: Path, source: SourceRepository, root: Path) -> None:
    with pytest.raises(UpstreamError, match="already"):
        add_upstream(root, NAME, str(source.folder), branch=None, patches=None, now_s=0)
    with pytest.raises(UpstreamError, match="missing"):
        add_upstream(tmp_path / "r", NAME, str(source.folder), branch=None, patches=tmp_path / "no", now_s=0)
    with pytest.raises(UpstreamError, match="there are: up"):
        sync_upstream(root, UpstreamName("linux"), clock=CLOCK, watch=lambda line: None)


def gone(root: Path, source: SourceRepository) -> None:
    source.folder.rename(source.folder.with_name("away"))


def branch_gone(root: Path, source: SourceRepository) -> None:
    source.branch("other")
    source.git.run("branch", "-D", "main")


def folder_gone(root: Path, source: SourceRepository) -> None:
    (root.parent / "patches").rename(root.parent / "hidden")


def patch_damaged(root: Path, source: SourceRepository) -> None:
    path = root.parent / "patches" / "0002-udp.c.patch"
    path.write_text(path.read_text().replace("+line 20 ours\n", ""))


def patch_without_reason(root: Path, source: SourceRepository) -> None:
    path = root.parent / "patches" / "0002-udp.c.patch"
    path.write_text(path.read_text().replace("Headrace-Reason: development\n", ""))


def other_form(root: Path, source: SourceRepository) -> None:
    (root.parent / "patches" / "0003.diff").write_text("diff")


@pytest.mark.parametrize(
    ("break_it", "kind", "words"),
    [
        (gone, RepositoryError, "no git repository"),
        (branch_gone, RepositoryError, "no branch 'main'; it has local, other"),
        (folder_gone, UpstreamError, "patch folder of up is missing"),
        (patch_damaged, PatchError, r"0002-udp.c.patch: line \d+: "),
        (patch_without_reason, PatchError, "Headrace-Reason"),
        (other_form, PatchError, "0003.diff"),
    ],
)
def test_what_breaks_between_syncs_changes_nothing(
    root: Path, source: SourceRepository, break_it: object, kind: type[HeadraceError], words: str
) -> None:
    before = UpstreamFolder(root=root, name=NAME).read()
    source.commit("more", {"doc.txt": "1\n"})
    break_it(root, source)
    with pytest.raises(kind, match=words):
        sync(root)
    assert UpstreamFolder(root=root, name=NAME).read() == before


def test_a_record_that_is_damaged_is_named(root: Path) -> None:
    path = UpstreamFolder(root=root, name=NAME).path / "record.json"
    path.write_text(path.read_text()[:50])
    with pytest.raises(WorkshopError, match=r"record\.json"):
        sync(root)


def test_settings_and_hooks_of_the_user_have_no_say(
    root: Path, source: SourceRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(
        "[am]\n\tthreeWay = no\n[user]\n\tname = X\n[commit]\n\tgpgSign = true\n[diff]\n\tnoprefix = true\n"
    )
    monkeypatch.setenv("HOME", str(home))
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_AUTHOR_NAME", "GIT_COMMITTER_EMAIL", "GIT_CONFIG_PARAMETERS"):
        monkeypatch.setenv(name, "nonsense")
    before = state(root)[0].candidate
    source.commit("more", {"doc.txt": "1\n"})
    after = sync(root).record.candidate
    assert [one.patch_id for one in after.patches] == [one.patch_id for one in before.patches]
    mirror = Mirror(folder=UpstreamFolder(root=root, name=NAME).mirror, url="")
    said = mirror.git().run("log", "-1", "--format=%cn %an", after.commit).text
    assert said == "Headrace Up"
