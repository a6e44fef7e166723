"""What a recipe may say, what is refused, and what it is turned into."""

from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.upstream.errors import RecipeError
from headrace.upstream.recipe import (
    Recipe,
    expand,
    fill,
    needs_configure,
    options_not_taken,
    parse_recipe,
    source_version,
    with_fragments,
)

TEXT = r"""
about = "a test"
[source]
version_file = "Makefile"
version_pattern = '^VERSION = (\d+)\nPATCH = (\d+)$'
version_format = "{0}.{1}"
[configure]
commands = [["merge", ".config", "{fragments}"]]
inputs = ["auto/*", "*/Kconfig*", "configure"]
fragments = ["base.fragment"]
result = ".config"
may_miss = ["CONFIG_OLD"]
[build]
commands = [["make", "-j{jobs}"]]
[outputs]
program = "objs/program"
[toolchain]
commands = [["cc", "--version"]]
"""
BASE = "CONFIG_A=y\n# CONFIG_B is not set\n# a comment\nCONFIG_OLD=y\n"


def recipe(text: str = TEXT, base: str = BASE) -> Recipe:
    return parse_recipe("test", text, {"base.fragment": base}, source="test.toml")


@pytest.mark.parametrize("name", ["nginx", "linux"])
def test_shipped_recipes_are_usable(name: str) -> None:
    folder = files("headrace.upstream").joinpath("recipes")
    fragments = {entry.name: entry.read_text() for entry in folder.iterdir()}
    shipped = parse_recipe(name, folder.joinpath(f"{name}.toml").read_text(), fragments, source=name)
    assert shipped.outputs.keys() == {name}
    assert shipped.about


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('about = "a test"', "about = 7", "about"),
        ('about = "a test"', "", "about"),
        ('about = "a test"', 'about = "a test"\ncolour = 1', "unknown key 'colour'"),
        ('[["make", "-j{jobs}"]]', "[]", "builds nothing"),
        ('[["make", "-j{jobs}"]]', "[[]]", "empty command"),
        ('program = "objs/program"', "", "builds nothing"),
        ('program = "objs/program"', 'program = "../program"', "inside the tree"),
        ('program = "objs/program"', 'program = "/bin/sh"', "inside the tree"),
        ('program = "objs/program"', '"provenance.json" = "a"', "no file name"),
        ('program = "objs/program"', '"a/b" = "a"', "no file name"),
        ('[["cc", "--version"]]', "[]", "builds nothing"),
        ('["base.fragment"]', '["other.fragment"]', "other.fragment"),
        (r"'^VERSION = (\d+)\nPATCH = (\d+)$'", "'('", "regular expression"),
        ("[toolchain]", "[toolchain", "not valid TOML"),
    ],
)
def test_what_cannot_be_used_names_the_place(old: str, new: str, says: str) -> None:
    assert old in TEXT
    with pytest.raises(RecipeError, match=r"test\.toml") as caught:
        recipe(TEXT.replace(old, new))
    assert says in str(caught.value)


def test_name_must_be_a_folder_name() -> None:
    with pytest.raises(RecipeError, match="recipe name"):
        parse_recipe("../etc", TEXT, {"base.fragment": ""}, source="x")


def test_commands_get_tree_jobs_and_each_fragment() -> None:
    places = {"tree": "/t", "jobs": "2"}
    assert expand(("make", "-j{jobs}", "{fragments}", "{tree}/x"), places=places, fragments=["/f/1", "/f/2"]) == (
        *("make", "-j2", "/f/1", "/f/2", "/t/x"),
    )


@given(st.text())
def test_other_braces_stay(text: str) -> None:
    assert fill(text, {}) == text


def test_digest_is_of_all_that_decides() -> None:
    digests = {
        recipe().digest,
        recipe(TEXT.replace("make", "gmake")).digest,
        recipe(base="CONFIG_A=m\n").digest,
        with_fragments(recipe(), [("debug", "CONFIG_D=y")]).digest,
        with_fragments(recipe(), [("debug", "CONFIG_E=y")]).digest,
    }
    assert len(digests) == 5
    assert with_fragments(recipe(), []).digest == recipe().digest


def test_fragments_need_a_place() -> None:
    plain = recipe(TEXT.replace(', "{fragments}"', ""))
    with pytest.raises(RecipeError, match="takes no fragments"):
        with_fragments(plain, [("debug", "CONFIG_D=y")])


@pytest.mark.parametrize(
    ("text", "version"), [("VERSION = 7\nPATCH = 2\n", "7.2"), ("A = 1\nVERSION = 7\nPATCH = 3", "7.3"), ("", "")]
)
def test_version_is_read(text: str, version: str) -> None:
    assert source_version(recipe(), text) == version


@pytest.mark.parametrize(
    ("path", "expected"),
    [("auto/options", True), ("auto/cc/gcc", True), ("net/ipv4/Kconfig", True), ("configure", True), ("a.c", False)],
)
def test_configure_again_when_its_inputs_change(path: str, expected: bool) -> None:
    assert needs_configure(recipe(), ["README", path]) is expected


@pytest.mark.parametrize(
    ("result", "missed"),
    [
        ("CONFIG_A=y\n", ()),
        ("CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_OLD=y\n", ()),
        ("CONFIG_A=m\n", ("CONFIG_A=y",)),
        ("", ("CONFIG_A=y",)),
        ("CONFIG_A=y\nCONFIG_B=y\n", ("# CONFIG_B is not set",)),
    ],
)
def test_every_line_of_a_fragment_must_hold(result: str, missed: tuple[str, ...]) -> None:
    assert options_not_taken(recipe(), result) == missed


def test_the_last_fragment_counts() -> None:
    over = with_fragments(recipe(), [("debug", "CONFIG_B=y")])
    assert options_not_taken(over, "CONFIG_A=y\nCONFIG_B=y\n") == ()
