"""nginx from Debian's source package: built whole once (and kept where the machine keeps it), then by one file."""

import subprocess
import time
from pathlib import Path

import pytest

from headrace.upstream.build import BuildVerdict, Source
from headrace.workshop.adapters.tarball import unpack
from headrace.workshop.sources import open_source
from headrace.workshop.testing_nginx import RELEASE, Shop, fetch_nginx

CHANGED = "src/http/ngx_http_special_response.c"


@pytest.fixture(scope="module")
def tarball() -> Path:
    return fetch_nginx(Path(__file__).parents[2] / "scripts")


@pytest.fixture(scope="module")
def shop() -> Shop:
    return Shop()


@pytest.fixture(scope="module")
def folder(tarball: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack(tarball, tmp_path_factory.mktemp("nginx"))


@pytest.mark.timeout(400)  # the first run on a machine compiles everything, beside whatever else runs there
def test_the_recipe_builds_a_release_tarball(shop: Shop, tarball: Path) -> None:
    with open_source(tarball, shop.store, shop.clock) as source:
        outcome = shop.builder.build(shop.recipe, source, Source())
    assert outcome.build.verdict is BuildVerdict.BUILT, outcome.build.failure
    assert outcome.build.sources[-1].version in tarball.name
    said = subprocess.run([shop.program(outcome), "-V"], capture_output=True, text=True, check=True, timeout=10).stderr
    for option in ("http_ssl_module", "http_v2_module", "threads", "http_stub_status_module", "http_slice_module"):
        assert f"--with-{option}" in said
    assert str(RELEASE) not in said
    assert str(RELEASE).encode() not in shop.program(outcome).read_bytes(), "the folder must not get into the bytes"


@pytest.mark.timeout(400)
def test_one_changed_file_costs_seconds_and_a_changed_comment_changes_nothing(shop: Shop, folder: Path) -> None:
    whole = shop.build_folder(folder)
    changed = folder / CHANGED
    text = changed.read_text()
    assert "<hr><center>nginx</center>" in text
    for _ in range(2):  # the first brings the shared work tree, whatever was built there last, to this folder
        mark = f"<!-- {time.time_ns()} -->"
        changed.write_text(text.replace("<hr><center>nginx</center>", f"<hr><center>nginx</center>{mark}"))
        step = shop.build_folder(folder)
    assert not step.was_stored
    assert mark.encode() in shop.program(step).read_bytes()
    assert step.build.provenance.is_incremental
    assert step.build.provenance.took_s < 20, "a step of a bisection; about 1 s on a quiet machine"
    log = shop.store.log(step.build.provenance.key).read_text()
    assert log.count(" -c ") == 1, "one file, one compilation"
    changed.write_text(changed.read_text() + f"/* {mark} */\n")
    comment = shop.build_folder(folder)
    assert comment.build.same_as == step.build.build_id
    changed.write_text(text)
    back = shop.build_folder(folder)
    assert (back.was_stored, back.build.output_sha256) == (True, whole.build.output_sha256)
