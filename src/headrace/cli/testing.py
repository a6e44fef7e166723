"""Commands run in the test's own process."""

import sys
from dataclasses import dataclass

import pytest

from headrace.cli.main import main


@dataclass
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


class Cli:
    """Runs commands in this process: a start of Python costs a second."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def __call__(self, *arguments: str, token: str = "") -> Done:
        self._monkeypatch.setattr(sys, "argv", ["headrace", *arguments])
        self._monkeypatch.setenv("HEADRACE_TOKEN", token)
        self._capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        said = self._capsys.readouterr()
        return Done(code, said.out, said.err)
