"""What makes a candidate, and that its id says what it is made of."""

import dataclasses

import pytest

from headrace.upstream.build import (
    Build,
    BuildId,
    BuildInputs,
    BuildKey,
    BuildVerdict,
    Output,
    Provenance,
    Source,
)
from headrace.upstream.candidate import Candidate, Component, make_candidate, make_component
from headrace.upstream.errors import CandidateError
from headrace.upstream.model import CommitId
from headrace.upstream.tree import TreeId
from headrace.wire.codec import decode, encode

PROVENANCE = Provenance(
    key=BuildKey("k"),
    inputs=BuildInputs(recipe="nginx", recipe_digest="r", tree=TreeId("t"), toolchain_digest="c"),
    source=Source(version="1.31"),
    toolchain="cc 12",
    fragments=(),
    started_at_s=1.0,
    took_s=2.0,
    is_incremental=False,
)
BUILD = Build(
    build_id=BuildId("b-1"),
    verdict=BuildVerdict.BUILT,
    provenance=PROVENANCE,
    sources=(Source(version="1.31"), Source(version="1.31", commit=CommitId("a" * 40), patches=("p",))),
    outputs=(Output(name="nginx", sha256="s", size_bytes=3),),
    output_sha256="o",
)


def candidate(*components: Component, version: str = "0.1", template: str = "x", now_s: float = 5.0) -> Candidate:
    return make_candidate(components, headrace_version=version, nginx_template_sha256=template, now_s=now_s)


def test_component_has_where_it_came_from() -> None:
    component = make_component("nginx", BUILD)
    assert (component.version, component.commit, component.patches) == ("1.31", "a" * 40, ("p",))
    assert component.outputs == {"nginx": "s"}
    assert make_component("nginx", BUILD, BUILD.sources[0]).commit is None


def test_id_is_of_the_parts_not_of_the_time() -> None:
    nginx = make_component("nginx", BUILD)
    linux = dataclasses.replace(nginx, name="linux")
    assert candidate(nginx, linux).candidate_id == candidate(linux, nginx, now_s=9.0).candidate_id
    others = {
        candidate(nginx).candidate_id,
        candidate(nginx, linux).candidate_id,
        candidate(nginx, version="0.2").candidate_id,
        candidate(nginx, template="y").candidate_id,
        candidate(dataclasses.replace(nginx, output_sha256="other")).candidate_id,
    }
    assert len(others) == 5


def test_what_makes_no_candidate() -> None:
    nginx = make_component("nginx", BUILD)
    with pytest.raises(CandidateError, match="only once"):
        candidate(nginx, nginx)
    with pytest.raises(CandidateError, match="at least one"):
        candidate()
    with pytest.raises(CandidateError, match="no file 'linux'"):
        make_component("linux", BUILD)
    with pytest.raises(CandidateError, match="did not build"):
        make_component("nginx", dataclasses.replace(BUILD, verdict=BuildVerdict.UNBUILDABLE))


def test_candidate_survives_its_json() -> None:
    made = candidate(make_component("nginx", BUILD))
    assert decode(Candidate, encode(made)) == made
    assert made.component("nginx") is not None
    assert made.component("linux") is None
