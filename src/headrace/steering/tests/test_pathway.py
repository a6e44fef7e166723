"""Base URLs taken apart."""

import pytest

from headrace.steering.pathway import base_parts


@pytest.mark.parametrize(
    ("url", "netloc", "path"),
    [
        ("http://192.0.2.1", "192.0.2.1", ""),
        ("http://192.0.2.1:80/", "192.0.2.1", ""),
        ("https://Edge.Example:443/a/b/", "edge.example", "/a/b"),
        ("http://[2001:db8::1]:8080", "[2001:db8::1]:8080", ""),
        ("https://edge.example:80", "edge.example:80", ""),
    ],
)
def test_parts(url: str, netloc: str, path: str) -> None:
    parts = base_parts(url)
    assert parts is not None
    assert (parts.netloc, parts.path) == (netloc, path)


@pytest.mark.parametrize("url", ["", "ftp://x", "http://", "http://x:99999", "http://[::1", "edge.example"])
def test_what_is_no_base_url(url: str) -> None:
    assert base_parts(url) is None
