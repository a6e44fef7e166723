import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.base import ids
from headrace.base.errors import InvalidIdError


@pytest.mark.parametrize("text", ["a", "a1", "north-1", "x" * 63])
def test_site_ids_that_are_allowed(text: str) -> None:
    assert ids.site_id(text) == text
    assert ids.appliance_id(text) == text


@pytest.mark.parametrize("text", ["", "-a", "a-", "A", "a_b", "x" * 64, "a/b", "ä", "a\n"])
def test_site_ids_that_are_refused_name_the_form(text: str) -> None:
    with pytest.raises(InvalidIdError, match="lower-case"):
        ids.site_id(text)


@pytest.mark.parametrize("text", ["Big_Buck.Bunny-2008", "7", "a" * 128])
def test_title_ids_that_are_allowed(text: str) -> None:
    assert ids.title_id(text) == text


@pytest.mark.parametrize("text", ["", ".", "..", "a..b", "a/b", "a b", "a" * 129, "a\n", ".hidden"])
def test_title_ids_that_are_refused(text: str) -> None:
    with pytest.raises(InvalidIdError):
        ids.title_id(text)


@given(st.text(max_size=80))
def test_a_file_name_is_a_hash_or_refused(text: str) -> None:
    try:
        assert ids.sha256(text) == text
    except InvalidIdError:
        return
    assert len(text) == 64
    assert set(text) <= set("0123456789abcdef")
