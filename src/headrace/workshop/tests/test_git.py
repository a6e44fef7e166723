"""git's words are mapped to what they mean for an operator, and hold no password."""

import pytest

from headrace.workshop.adapters.git import explain


@pytest.mark.parametrize(
    ("said", "meaning"),
    [
        ("fatal: unable to access 'https://example.org/x/': Could not resolve host: example.org", "cannot be reached"),
        ("fatal: could not read Username for 'https://example.org': terminal prompts disabled", "access was refused"),
        ("git@example.org: Permission denied (publickey).\nfatal: Could not read from remote", "access was refused"),
        ("error: file write error: No space left on device\nfatal: fetch-pack failed", "disk is full"),
        ("remote: Repository not found.\nfatal: repository 'https://example.org/x/' not found", "no git repository"),
        ("fatal: detected dubious ownership in repository at '/srv/x'", "another user"),
        ("fatal: mismatched algorithms: client sha1; server sha256", "SHA-256"),
    ],
)
def test_meanings(said: str, meaning: str) -> None:
    assert meaning in explain(said, code=128)


def test_words_hold_no_password_and_no_progress() -> None:
    said = "remote: Counting objects: 5\nfatal: unable to access 'https://user:secret@example.org/': x"
    told = explain(said, code=128)
    assert "secret" not in told
    assert "Counting" not in told
    assert "example.org" in told


def test_what_says_nothing_has_its_code() -> None:
    assert explain("", code=3) == "exit code 3"
    assert "signal 9" in explain("", code=-9)
