"""Language tags."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.origin.languages import language_tag


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        *(("eng", "en"), ("fra", "fr"), ("fre", "fr"), ("pt-BR", "pt-BR"), ("por_BR", "pt-BR"), ("gsw", "gsw")),
        *(("", "und"), ("und", "und"), ("EN", "en"), ("nonsense!", "und"), ("x", "und"), ("zho-Hant", "zh-Hant")),
    ],
)
def test_tags(text, tag):
    assert language_tag(text) == tag


@given(st.text(max_size=50))
def test_a_tag_stays_itself(text):
    assert language_tag(language_tag(text)) == language_tag(text)
