"""The store's bound, its references, candidates, and the commands, on a real folder."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.base.clock import SystemClock
from headrace.upstream.build import (
    Build,
    BuildInputs,
    BuildKey,
    BuildVerdict,
    Provenance,
    Source,
    build_id,
    build_key,
)
from headrace.upstream.candidate import make_candidate, make_component
from headrace.upstream.tree import TreeId
from headrace.workshop.candidates import CandidateStore
from headrace.workshop.errors import StoreError
from headrace.workshop.recipes import find_recipe, recipe_names
from headrace.workshop.store import BuildStore


@pytest.fixture
def store(tmp_path: Path) -> BuildStore:
    return BuildStore(tmp_path / "builds", clock=SystemClock())


def put(store: BuildStore, name: str, content: bytes, used_at_s: float = 1.0) -> Build:
    """A build with one output, as a builder would keep it."""
    inputs = BuildInputs(recipe="nginx", recipe_digest="r", tree=TreeId(name), toolchain_digest="t")
    key = build_key(inputs)
    provenance = Provenance(
        key=key,
        inputs=inputs,
        source=Source(version=name),
        toolchain="cc",
        fragments=(),
        started_at_s=used_at_s,
        took_s=1.0,
        is_incremental=False,
    )
    draft = Build(
        build_id=build_id(key), verdict=BuildVerdict.UNBUILDABLE, provenance=provenance, sources=(provenance.source,)
    )
    with store.hold(key, wait_s=1) as scratch:
        made, log = scratch / "made", scratch / "log"
        made.write_bytes(content)
        log.write_text("the log")
        store.keep_log(key, log)
        build = store.put(scratch, draft, {"nginx": made}, None)
    os.utime(store.folder(build), (used_at_s, used_at_s))
    return build


def test_the_oldest_leave_first_and_references_never(store: BuildStore) -> None:
    builds = [put(store, str(number), bytes([number]) * 10_000, float(number)) for number in range(1, 6)]
    referenced = frozenset({builds[0].output_sha256})
    one_bytes = sum(path.stat().st_size for path in store.folder(builds[0]).iterdir())
    left = store.trim(3 * one_bytes, referenced=referenced)
    assert left == [builds[1].output_sha256, builds[2].output_sha256]
    assert [store.has_outputs(build) for build in builds] == [True, False, False, True, True]
    assert store.trim(0, referenced=referenced, keep=builds[4]) == [builds[3].output_sha256]
    assert [store.has_outputs(build) for build in builds] == [True, False, False, False, True]
    assert store.get(builds[1].provenance.key) is None, "what has left is built again"
    with pytest.raises(StoreError, match="have left the store; build it again"):
        store.output(store.find(builds[1].build_id), "nginx")


def test_use_keeps(store: BuildStore) -> None:
    old, new = put(store, "1", b"1", 1.0), put(store, "2", b"2", 2.0)
    store.get(old.provenance.key)
    assert store.trim(1, referenced=frozenset(), keep=None)[0] == new.output_sha256


def test_equality_is_known_after_the_outputs_have_left(store: BuildStore) -> None:
    first = put(store, "1", b"same")
    store.trim(0, referenced=frozenset())
    second = put(store, "2", b"same")
    assert (first.same_as, second.same_as) == (None, first.build_id)
    assert store.has_outputs(second)


def test_what_a_kill_left_is_cleared_and_what_is_in_work_is_not(store: BuildStore) -> None:
    put(store, "1", b"1")
    (store.root / "tmp/abandoned").mkdir()
    (store.root / "tmp/leaving-x").mkdir()
    with store.hold("busy", wait_s=1) as scratch:
        store.trim(1 << 30, referenced=frozenset())
        assert [path.name for path in (store.root / "tmp").iterdir()] == [scratch.name]


def test_builds_are_found_by_the_start_of_their_id(store: BuildStore) -> None:
    builds = [put(store, str(number), bytes([number])) for number in range(20)]
    assert store.find(builds[7].build_id) == builds[7]
    assert store.find(builds[7].provenance.key) == builds[7]
    for text in ("", "b-", "zz", "../../etc", "0" * 12):
        with pytest.raises(StoreError, match="no build"):
            store.find(text)
    digit = next(d for d in "0123456789abcdef" if sum(b.provenance.key.startswith(d) for b in builds) > 1)
    with pytest.raises(StoreError, match="several builds"):
        store.find(f"b-{digit}")


def test_sources_are_added(store: BuildStore) -> None:
    build = put(store, "1", b"1")
    added = store.add_source(build, Source(version="1", patches=("p",)))
    assert store.get(BuildKey(build.provenance.key)) == added
    assert [source.patches for source in added.sources] == [(), ("p",)]


def test_candidates(store: BuildStore, tmp_path: Path) -> None:
    candidates = CandidateStore(tmp_path / "candidates")
    assert candidates.all() == []
    build = put(store, "1", b"1")
    options = {"headrace_version": "1", "nginx_template_sha256": "x"}
    first = candidates.save(make_candidate((make_component("nginx", build),), now_s=1.0, **options))
    again = candidates.save(make_candidate((make_component("nginx", build),), now_s=2.0, **options))
    assert again == first, "made once, whenever it is asked for"
    assert candidates.find(first.candidate_id[:6]) == first
    assert candidates.referenced() == {build.output_sha256}
    for text in ("", "c-", "c-zz"):
        with pytest.raises(StoreError, match="candidate"):
            candidates.find(text)
    (tmp_path / "candidates/c-000000000000.json").write_text("{")
    with pytest.raises(StoreError, match="damaged"):
        candidates.referenced()


def test_a_users_recipe_wins(tmp_path: Path) -> None:
    assert recipe_names(tmp_path / "none") == ("linux", "linux-image", "nginx")
    shipped = find_recipe("nginx", tmp_path)
    (tmp_path / "nginx.toml").write_text(
        'about = "mine"\n[build]\ncommands=[["make"]]\n[outputs]\nnginx="x"\n[toolchain]\ncommands=[["cc"]]\n'
    )
    assert (find_recipe("nginx", tmp_path).about, shipped.about != "mine") == ("mine", True)
    assert recipe_names(tmp_path) == ("linux", "linux-image", "nginx")


RECIPE = """
about = "a file"
[build]
commands = [["cp", "in", "nginx"]]
[outputs]
nginx = "nginx"
[toolchain]
commands = [["true"]]
"""


@dataclasses.dataclass
class Commands:
    """Runs `headrace release` on a folder."""

    folder: Path

    def __call__(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "headrace.cli.main", "release", *words, "--folder", str(self.folder)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    def json(self, *words: str) -> dict[str, object]:
        done = self(*words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


def test_commands(tmp_path: Path) -> None:
    release = Commands(tmp_path / "release")
    (tmp_path / "release/recipes").mkdir(parents=True)
    (tmp_path / "release/recipes/copy.toml").write_text(RECIPE)
    (tmp_path / "source").mkdir()
    (tmp_path / "source/in").write_text("content")
    built = release.json("build", "copy", str(tmp_path / "source"))
    assert (Path(str(built["folder"])) / "nginx").read_text() == "content"
    assert "built already" in release("build", "copy", str(tmp_path / "source")).stdout
    assert str(built["build_id"]) in release("builds").stdout
    made = release.json("candidate", "--nginx", str(built["build_id"]))
    assert release.json("candidate", "--show", str(made["candidate_id"])) == made
    assert str(made["candidate_id"]) in release("candidates").stdout
    assert "copy" in release("recipes").stdout


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("build", "nosuch", "."), 61, "no recipe 'nosuch'"),
        (("build", "nginx", "/nonexistent"), 63, "does not exist"),
        (("build", "nginx", "/etc/passwd"), 63, "neither a folder nor a tarball"),
        (("build", "nginx", str(Path(__file__).parent)), 63, "no source of nginx"),
        (("build", "nginx", ".", "--tree", "../x"), 61, "not allowed"),
        (("candidate",), 2, "name at least one build"),
        (("candidate", "--nginx", "b-0"), 63, "no build"),
        (("candidate", "--show", "c-0"), 63, "no candidate"),
    ],
)
def test_commands_that_cannot_be_done(tmp_path: Path, words: tuple[str, ...], code: int, says: str) -> None:
    done = Commands(tmp_path)(*words)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False)
    assert says in " ".join(done.stderr.split())


def test_a_build_that_fails_shows_its_last_lines(tmp_path: Path) -> None:
    release = Commands(tmp_path / "release")
    (tmp_path / "release/recipes").mkdir(parents=True)
    (tmp_path / "release/recipes/copy.toml").write_text(RECIPE)
    (tmp_path / "source").mkdir()
    (tmp_path / "source/other").write_text("")
    done = release("build", "copy", str(tmp_path / "source"))
    assert done.returncode == 64
    assert "cannot stat 'in'" in done.stderr
    log = Path(done.stderr.rpartition("log: ")[2].strip())
    assert "cannot stat" in log.read_text()
