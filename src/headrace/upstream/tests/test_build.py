"""Keys, output digests and what a log says."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.upstream.build import (
    MOST_SOURCES,
    BuildInputs,
    CompilerWarning,
    Output,
    Source,
    build_id,
    build_key,
    carry_warnings,
    is_machine_fault,
    output_digest,
    read_compiled,
    read_warnings,
    with_source,
)
from headrace.upstream.recipe import LogRule
from headrace.upstream.tree import TreeId

INPUTS = BuildInputs(recipe="nginx", recipe_digest="1", tree=TreeId("2"), toolchain_digest="3")
RULE = LogRule(
    warning=r"^(?P<file>[\w./+-]+):(?P<line>\d+)(?::\d+)?: warning: (?P<text>.*)$",
    compiled=r"^\s+CC\s+(?P<stem>\S+)\.o$",
)


def warning(file: str, line_no: int = 1, text: str = "unused") -> CompilerWarning:
    return CompilerWarning(file=file, line_no=line_no, text=text)


@pytest.mark.parametrize("field", ["recipe", "recipe_digest", "tree", "toolchain_digest"])
def test_each_input_is_in_the_key(field: str) -> None:
    assert build_key(dataclasses.replace(INPUTS, **{field: "x"})) != build_key(INPUTS)


def test_id_is_the_start_of_the_key() -> None:
    assert build_id(build_key(INPUTS)) == f"b-{build_key(INPUTS)[:12]}"


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("12")), unique_by=lambda pair: pair[0]))
def test_output_digest_is_of_names_and_bytes(pairs: list[tuple[str, str]]) -> None:
    outputs = [Output(name=name, sha256=digest, size_bytes=1) for name, digest in pairs]
    assert output_digest(outputs) == output_digest(reversed(outputs))
    assert all(
        output_digest([dataclasses.replace(one, sha256="3"), *(rest for rest in outputs if rest != one)])
        != output_digest(outputs)
        for one in outputs
    )


def test_the_latest_source_is_last_and_old_ones_are_forgotten() -> None:
    sources: tuple[Source, ...] = ()
    for number in range(MOST_SOURCES + 5):
        sources = with_source(sources, Source(name=str(number)))
    assert [sources[0].name, sources[-1].name, len(sources)] == ["5", str(MOST_SOURCES + 4), MOST_SOURCES]
    assert with_source(sources, sources[0])[-1] == sources[0]


def test_warnings_are_read_once_each() -> None:
    lines = [
        "  CC      net/a.o",
        "net/a.c:12:3: warning: unused variable 'x' [-Wunused-variable]",
        "net/a.c:12:3: warning: unused variable 'x' [-Wunused-variable]",
        "./b.h:7: warning: shadowed",
        "warning: something else",
    ]
    found = read_warnings(RULE, lines)
    assert found == (warning("b.h", 7, "shadowed"), warning("net/a.c", 12, "unused variable 'x' [-Wunused-variable]"))
    assert read_compiled(RULE, lines) == {"net/a"}
    assert read_warnings(LogRule(), lines) == ()
    assert read_compiled(LogRule(), lines) == frozenset()


@pytest.mark.parametrize(
    ("before", "fresh", "compiled", "after"),
    [
        (["a.c"], [], [], ["a.c"]),
        (["a.c"], [], ["a"], []),
        (["a.c"], ["a.c"], ["a"], ["a.c"]),
        (["a.c"], ["b.c"], ["b"], ["a.c", "b.c"]),
        (["a.h"], [], ["a.c"], ["a.h"]),
    ],
)
def test_warnings_outlive_builds_that_do_not_compile_their_file(
    before: list[str], fresh: list[str], compiled: list[str], after: list[str]
) -> None:
    carried = carry_warnings(map(warning, before), map(warning, fresh), frozenset(compiled))
    assert carried == tuple(map(warning, after))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("fatal error: error writing to /tmp/x.s: No space left on device", True),
        ("gcc: fatal error: Killed signal terminated program cc1", True),
        ("cc1: out of memory: Cannot allocate memory", True),
        ("a.c:1: error: expected ';'", False),
    ],
)
def test_a_fault_of_the_machine_is_no_verdict(line: str, expected: bool) -> None:
    assert is_machine_fault(["make: *** [x] Error 1", line]) is expected
