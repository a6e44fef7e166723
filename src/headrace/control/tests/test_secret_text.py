import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.control.secret_text import SecretKind, fits, new_secret, read_secret


@pytest.mark.parametrize("kind", SecretKind)
def test_what_is_made_can_be_read_and_fits_its_hash_only(kind):
    secret = new_secret(kind)
    again = read_secret(secret.text)
    assert again == secret
    assert fits(again, secret.sha256)
    assert not fits(again, new_secret(kind, secret.secret_id).sha256)
    assert not fits(again, None)


def test_a_secret_never_shows_itself():
    secret = new_secret(SecretKind.APPLIANCE)
    assert secret.text not in repr(secret)
    assert secret.text not in secret.sha256


@given(st.text(max_size=80))
def test_other_texts_are_no_secrets(text):
    assert read_secret(text) is None
