"""How long a sync takes on a repository with many commits, and how that grows with its history.

    .venv/bin/python bench/upstream_sync.py [--commits 100000] [--new 500] [--patches 20] [--quick]

Makes a synthetic repository with `git fast-import`; syncs once (fetches all), then adds commits and syncs again, as
each day does. Prints one JSON line for each step with its raw seconds. The goal: a sync of a day's commits takes
seconds, whatever the length of the history.
"""

import argparse
import json
import platform
import shutil
import tempfile
import time
from pathlib import Path

from headrace.base.clock import SystemClock
from headrace.upstream.model import UpstreamName
from headrace.workshop.sync import add_upstream, open_mirror, sync_upstream
from headrace.workshop.testing_git import SourceRepository, numbered

NAME = UpstreamName("bench")
GOAL_S = 10.0
"""For a sync of a day's commits."""
FILES = 2000


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--commits", type=int, default=100_000)
    parser.add_argument("--new", type=int, default=500)
    parser.add_argument("--patches", type=int, default=20)
    parser.add_argument("--quick", action="store_true", help="2,000 commits: shows that it works")
    options = parser.parse_args()
    commits = 2_000 if options.quick else options.commits
    folder = Path(tempfile.mkdtemp(prefix="upstream-sync-"))
    try:
        return bench(folder, commits, options.new, options.patches)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def bench(folder: Path, commits: int, new: int, patches: int) -> int:
    """Both syncs; 1 when the second misses the goal."""
    source = SourceRepository(folder=folder / "source")
    timed("make", lambda: source.grow(commits, files=FILES), commits=commits)
    queue = folder / "patches"
    queue.mkdir()
    names = [f"net/part{number}.c" for number in range(patches)]
    source.commit("files of the queue", dict.fromkeys(names, numbered(400)))
    for number, name in enumerate(names):
        source.branch("local", "main")
        source.commit(f"{name}: ours", {name: numbered(400, {200: "ours"})})
        (queue / f"{number + 1:04d}-ours.patch").write_bytes(source.patch())
    source.switch("main")
    root = folder / "release"
    add_upstream(root, NAME, str(source.folder), branch="main", patches=queue, now_s=SystemClock().now_s())
    timed("first sync", lambda: sync(root), commits=commits, patches=patches)
    source.commit("upstream touches all files of the queue", dict.fromkeys(names, numbered(400, {10: "theirs"})))
    source.grow(new, files=FILES)
    took_s = timed("sync", lambda: sync(root), commits=commits, new=new, patches=patches)
    timed("sync without news", lambda: sync(root), commits=commits)
    record, mirror = open_mirror(root, NAME)
    assert record.candidate is not None
    made = record.candidate
    timed("check out", lambda: mirror.check_out(made.commit, folder / "tree"), files=FILES + patches)
    timed("check out upstream's head", lambda: mirror.check_out(made.upstream_commit, folder / "tree"), changed=patches)
    return int(took_s > GOAL_S)


def sync(root: Path) -> None:
    result = sync_upstream(root, NAME, clock=SystemClock(), watch=lambda line: None)
    assert result.conflict is None


def timed(step: str, work: object, **facts: int) -> float:
    """Run a step, print it, give its seconds."""
    assert callable(work)
    begun_s = time.monotonic()
    work()
    took_s = time.monotonic() - begun_s
    print(json.dumps({"step": step, "seconds": round(took_s, 3), **facts, "machine": platform.machine()}), flush=True)
    return took_s


if __name__ == "__main__":
    raise SystemExit(main())
