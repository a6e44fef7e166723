"""A fault of nginx is hidden in a real history, and `headrace release bisect` finds it on real builds, by command.

    a release ── comment ─┬─ early returns ── [does not build] ── [builds again] ── FAULT ─┬─ refactor
                          └─ mail proxy ───────────────────────────────────────────────────┘ merge

The builds lie in the store that test runs share, so that a second run on a machine compiles nothing.
"""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from headrace.lab.bisection.model import Bisection
from headrace.lab.bisection.record import load
from headrace.lab.bisection.testing import apply_patch, begin_repository, subject_of
from headrace.upstream.model import CommitId
from headrace.wire.codec import decode
from headrace.workshop.adapters.tarball import unpack
from headrace.workshop.testing_git import SourceRepository
from headrace.workshop.testing_nginx import RELEASE, SETTINGS, fetch_nginx

REPO = Path(__file__).parents[2]
CORPUS = REPO / "corpus/nginx"
CHECK = "function.bytes"
pytestmark = pytest.mark.timeout(1200)  # the first run on a machine compiles nginx several times


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A release folder that follows a repository; the candidate has a fault that the baseline has not."""

    folder: Path
    source: SourceRepository
    base: CommitId
    culprit: CommitId
    broken: CommitId
    baseline: str
    candidate: str

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "headrace.cli.main", *words]

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "HEADRACE_RELEASE_FOLDER": str(self.folder), "COLUMNS": "160"}

    def headrace(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words), env=self.environment, capture_output=True, text=True, timeout=500, check=False
        )

    def asked(self, *words: str) -> dict[str, object]:
        """What a command with --json says."""
        ran = self.headrace(*words, "--json")
        assert ran.stdout, ran.stderr
        found: dict[str, object] = json.loads(ran.stdout)
        return found

    def in_repository(self, good: str, bad: str, check: str = CHECK) -> subprocess.CompletedProcess[str]:
        place = ("--repository", str(self.source.folder), "--good", good, "--bad", bad)
        return self.headrace("release", "bisect", check, *place, "--recipe", "nginx", "--json")

    def make_candidate(self) -> str:
        assert self.headrace("upstream", "sync", "nginx").returncode == 0
        build = self.asked("release", "build", "nginx", "--upstream", "nginx", "--tree", "bisect")
        return str(self.asked("release", "candidate", "--nginx", str(build["build_id"]))["candidate_id"])


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """The history of the picture, followed with one patch of ours that both candidates have."""
    root = tmp_path_factory.mktemp("bisection")
    source = begin_repository(unpack(fetch_nginx(REPO / "scripts"), root / "unpacked"), root / "source")
    folder = root / "release"
    folder.mkdir()
    (folder / "workshop.toml").write_text(SETTINGS)
    (RELEASE / "builds").mkdir(parents=True, exist_ok=True)
    (folder / "builds").symlink_to(RELEASE / "builds")
    base = source.head()
    empty = Scene(folder=folder, source=source, base=base, culprit=base, broken=base, baseline="", candidate="")
    assert empty.headrace("upstream", "add", "nginx", str(source.folder)).returncode == 0
    ours = str(CORPUS / "harmless-docs.patch")
    assert empty.headrace("upstream", "patches", "nginx", "add", ours, "--reason", "development").returncode == 0
    baseline = empty.make_candidate()
    culprit, broken = grow(source)
    made = Scene(
        folder=folder, source=source, base=base, culprit=culprit, broken=broken, baseline=baseline, candidate=""
    )
    return Scene(
        folder=folder, source=source, base=base, culprit=culprit, broken=broken, baseline=baseline,
        candidate=made.make_candidate(),
    )  # fmt: skip


def grow(source: SourceRepository) -> tuple[CommitId, CommitId]:
    """Eight commits; gives the one at fault and the one that does not build."""

    def add(name: str) -> CommitId:
        assert apply_patch(source.folder, CORPUS / name)
        return source.commit(subject_of(CORPUS / name), {})

    first = add("harmless-comment.patch")
    source.branch("side", first)
    add("harmless-mail.patch")
    source.switch("main")
    add("harmless-branch.patch")
    path = "src/core/nginx.c"
    whole = (source.folder / path).read_text()
    broken = source.commit("Core: a wider cycle", {path: whole.replace("#include <nginx.h>", "#include <nginxx.h>")})
    source.commit("Core: the header by its name", {path: whole + "\n\n/* The end. */\n"})
    culprit = add("fault-suffix-range.patch")
    source.git.run("merge", "--quiet", "--no-ff", "--message", "Merge the mail branch", "side")
    add("harmless-refactor.patch")
    return culprit, broken


def run_of(scene: Scene) -> tuple[Path, Bisection] | None:
    """The only search between candidates there is."""
    for path in (scene.folder / "runs").glob("bisect-c-*/bisection.json"):
        if (record := load(path.parent)) is not None:
            return path.parent, record
    return None


def test_a_search_is_killed_and_taken_up_again_and_finds_the_commit(scene: Scene) -> None:
    words = ("release", "bisect", scene.candidate, CHECK, "--baseline", scene.baseline)
    with subprocess.Popen(scene.command(*words), env=scene.environment, start_new_session=True) as first:
        while first.poll() is None:
            found = run_of(scene)
            if found is not None and len(found[1].steps) >= 3:
                os.killpg(first.pid, signal.SIGKILL)
                first.wait(30)
            time.sleep(0.2)
    found = run_of(scene)
    assert found is not None
    run, before = found
    assert first.returncode == -signal.SIGKILL
    assert before.conclusion is None

    answer = scene.asked(*words)
    after = decode(Bisection, (run / "bisection.json").read_bytes())
    assert after.steps[: len(before.steps)] == before.steps, "nothing was asked again"
    assert (answer["ending"], answer["searched"]) == ("culprit", 8)
    (named,) = answer["commits"]  # type: ignore[misc]
    assert (named["commit"], named["kind"], named["doubt"]) == (scene.culprit, "upstream", "")
    assert (answer["fails"], answer["reverted_passes"], answer["fails_without_patches"]) == (3, 3, True)
    doubts = {one.subject: one.doubt for one in after.grounds.commits}
    assert doubts["Merge the mail branch"] == "it changes nothing"
    assert sum(bool(doubt) for doubt in doubts.values()) == 3

    again = scene.headrace(*words)
    assert (again.returncode, f"fails since commit {scene.culprit}" in again.stdout) == (0, True), again.stderr
    check_report(scene, run)
    check_where(scene)


def check_report(scene: Scene, run: Path) -> None:
    """The mail for upstream has the commit, the proof and a script that a shell takes."""
    mail = scene.headrace("upstream", "report", str(run / "report.json"), "--from", "Ann <ann@example.org>").stdout
    assert "Subject: [REGRESSION] nginx: function.bytes fails" in mail
    for said in (scene.culprit, scene.base, "failed 3 of 3 times", "reverted passed 3 of 3", "Plain upstream"):
        assert said in mail
    assert f"git clone {scene.source.folder} source" in mail
    assert subprocess.run(["sh", "-n", str(run / "reproduce.sh")], check=False, timeout=10).returncode == 0


def check_where(scene: Scene) -> None:
    """The fault is in the candidate, our patch in both."""

    def held(commit: str) -> dict[str, str | None]:
        found = scene.asked("release", "where", commit)["candidates"]
        return {one["candidate"]: one["by"] for one in found}  # type: ignore[attr-defined]

    assert held(scene.culprit) == {scene.baseline: None, scene.candidate: "ancestry"}
    assert held(scene.base) == {scene.baseline: "ancestry", scene.candidate: "ancestry"}
    record = json.loads((scene.folder / "upstreams/nginx/record.json").read_text())
    ours = record["candidate"]["patches"][0]["commit"]
    assert held(ours) == {scene.baseline: "patch-id", scene.candidate: "patch-id"}
    shown = scene.headrace("release", "where", scene.culprit, "--upstream", "nginx").stdout
    assert "never qualified" in shown
    missing = scene.headrace("release", "where", "0123456789")
    assert (missing.returncode, "is no commit of" in missing.stderr) == (63, True)


def test_a_repository_without_a_release_folder_of_its_own(scene: Scene) -> None:
    late = scene.in_repository(scene.culprit, "HEAD")
    answer = json.loads(late.stdout)
    assert (answer["ending"], answer["commits"], late.returncode) == ("good-end-fails", [], 1)


def test_errors_name_the_thing_and_the_mend(scene: Scene, tmp_path: Path) -> None:
    bisect = ("release", "bisect")
    ends, revisions = ("--baseline", scene.baseline), ("--good", "a", "--bad", "b", "--recipe", "nginx")
    for words, code, said in (
        ((*bisect, "c-0123", CHECK, *ends), 63, "headrace release candidates"),
        ((*bisect, scene.candidate, "function.bites", *ends), 2, "choose from"),
        ((*bisect, scene.candidate, CHECK), 2, "--baseline CANDIDATE"),
        ((*bisect, scene.candidate, CHECK, "--baseline", scene.candidate), 2, "no component in common that differs"),
        ((*bisect, scene.baseline, CHECK, "--baseline", scene.candidate), 63, "a search goes from old to new"),
        ((*bisect, scene.candidate, CHECK, *ends, "--component", "linux"), 2, "both have nginx"),
        ((*bisect, scene.candidate), 2, "name a candidate and a check"),
        ((*bisect, CHECK, "--repository", str(tmp_path), *revisions), 63, "no git repository"),
    ):
        ran = scene.headrace(*words)
        assert (ran.returncode, said in ran.stderr) == (code, True), (words, ran.stderr)
        assert "Traceback" not in ran.stderr
    scene.source.git.run("checkout", "--quiet", "--orphan", "other")
    other = scene.source.commit("another history", {})
    scene.source.git.run("checkout", "--quiet", "main")
    apart = scene.in_repository(other, "HEAD")
    assert (apart.returncode, "they share no commit" in apart.stderr) == (63, True), apart.stderr


def test_what_this_machine_lacks_is_an_error_and_no_answer(scene: Scene, tmp_path: Path) -> None:
    place = Scene(
        folder=tmp_path / "full", source=scene.source, base=scene.base, culprit=scene.culprit, broken=scene.broken,
        baseline="", candidate="",
    )  # fmt: skip
    place.folder.mkdir()
    (place.folder / "workshop.toml").write_text('[build]\nmin_free = "900TiB"\nstore_limit = "1GiB"\n')
    ran = place.in_repository(scene.base, "HEAD")
    assert (ran.returncode, "too little room" in ran.stderr) == (63, True), ran.stderr
    (record,) = (load(path.parent) for path in place.folder.glob("runs/*/bisection.json"))
    assert record is not None
    assert (record.steps, record.conclusion) == ((), None)

    tarball = fetch_nginx(REPO / "scripts")
    build = scene.asked("release", "build", "nginx", str(tarball), "--tree", "bisect")
    alone = str(scene.asked("release", "candidate", "--nginx", str(build["build_id"]))["candidate_id"])
    ran = scene.headrace("release", "bisect", scene.candidate, CHECK, "--baseline", alone)
    assert (ran.returncode, "no upstream is recorded" in ran.stderr) == (2, True), ran.stderr
    mirror = scene.folder / "upstreams/nginx/mirror.git"
    mirror.rename(mirror.with_name("away"))
    try:
        ran = scene.headrace("release", "bisect", scene.candidate, CHECK, "--baseline", scene.baseline, "--anew")
        assert (ran.returncode, "is missing: run `headrace upstream sync nginx`" in ran.stderr) == (63, True), (
            ran.stderr
        )
    finally:
        mirror.with_name("away").rename(mirror)
