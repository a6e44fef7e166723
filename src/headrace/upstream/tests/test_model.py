"""Names are checked, secrets are not shown, queues compare by content."""

import pytest

from headrace.upstream.errors import UpstreamError
from headrace.upstream.model import PatchQueue, commit_id, show_url, upstream_name
from headrace.upstream.testing import make_patch


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://example.org/a.git", "https://example.org/a.git"),
        ("https://user:secret@example.org/a.git", "https://example.org/a.git"),
        ("https://secret@example.org/a", "https://example.org/a"),
        ("https://us@er:sec@ret@example.org/a", "https://example.org/a"),
        ("HTTPS://u:secret@example.org/a?token=secret#secret", "HTTPS://example.org/a"),
        ("ssh://git@example.org/a", "ssh://git@example.org/a"),
        ("ssh://git:secret@example.org/a", "ssh://example.org/a"),
        ("git@example.org:a/b.git", "git@example.org:a/b.git"),
        ("/srv/a@b/c.git", "/srv/a@b/c.git"),
    ],
)
def test_urls_are_shown_without_secrets(url: str, shown: str) -> None:
    assert show_url(url) == shown


@pytest.mark.parametrize("text", ["", "..", "a/b", "A", "-a", "a" * 64, "a\n"])
def test_bad_names(text: str) -> None:
    with pytest.raises(UpstreamError):
        upstream_name(text)


@pytest.mark.parametrize("text", ["", "HEAD", "a" * 39, "A" * 40, "--all", "g" * 40])
def test_bad_commits(text: str) -> None:
    with pytest.raises(UpstreamError):
        commit_id(text)


def test_a_queue_knows_its_files_and_content() -> None:
    queue = PatchQueue(patches=(make_patch("a", paths=("y", "x")), make_patch("b", paths=("x", "z"))))
    assert queue.paths == ("x", "y", "z")
    assert queue.lines == 8
    assert queue.without(["a.patch"]).digest == ((queue.patches[1].file_name, queue.patches[1].sha256),)
