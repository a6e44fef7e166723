"""Foreign words are shown as they are and steer nothing; what is no token is neither sent nor repeated."""

import io
from pathlib import Path

import pytest
from rich.table import Table

from headrace.base.errors import UsageError
from headrace.cli.console import PlainConsole, fail, plain, read_token


@pytest.mark.parametrize("text", ["S [red]9[/red]", "[/disk/1] failed", "a :warning: b", "[Errno 2] [/]", r"C:\[x]"])
def test_brackets_and_emoji_codes_are_no_markup(text: str) -> None:
    assert _shown(text) == text
    table = Table("name", box=None)
    table.add_row(text)
    assert text in _shown(table)


@pytest.mark.parametrize("text", ["a\x1b[31mb", "a\x1b]0;title\x07b", "a\rb", "a\x9b2Jb", "a\u202eb"])
def test_control_characters_are_replaced(text: str) -> None:
    assert _shown(text).startswith("a\N{REPLACEMENT CHARACTER}")
    assert not set(_shown(text)) & set("\x1b\x07\r\x9b\u202e")


def test_tabs_and_lines_stay() -> None:
    assert plain("a\tb\nc") == "a\tb\nc"


def test_an_error_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert fail(UsageError("cannot read [/etc/x]\x1b[2J")) == UsageError.exit_code
    said = capsys.readouterr().err
    assert "[/etc/x]" in said
    assert "\x1b" not in said


@pytest.mark.parametrize("content", [b"a b", b"a\nb", b"hro_\xc3\xa4", b"\xff\xfe"])
def test_what_is_no_token_is_refused_and_not_repeated(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "token"
    file.write_bytes(b"secret" + content)
    with pytest.raises(UsageError) as refusal:
        read_token(file)
    assert str(file) in str(refusal.value)
    assert "secret" not in str(refusal.value)


def test_white_space_around_a_token_is_no_part_of_it(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("  hro_1_x \r\n")
    assert read_token(file) == "hro_1_x"


def _shown(what: object) -> str:
    target = io.StringIO()
    PlainConsole(file=target, width=80).print(what)
    return target.getvalue().rstrip("\n ")
