from dataclasses import dataclass

import pytest

from headrace.wire.codec import decode, encode
from headrace.wire.errors import MalformedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    name: str
    inners: tuple[Inner, ...] = ()


def test_a_value_comes_back_as_it_went() -> None:
    value = Outer(name="ü", inners=(Inner(size=1), Inner(size=2)))
    assert decode(Outer, encode(value)) == value


def test_fields_of_a_newer_peer_are_ignored() -> None:
    assert decode(Outer, b'{"name":"a","colour":"red"}') == Outer(name="a")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"name":"a","inners":[{"size":"x"}]}', r"inners\.0\.size"),
        (b"{}", "name: Field required"),
        (b"\xff\xfe", "message"),
        (b"[]", "message"),
        (b"", "message"),
    ],
)
def test_a_malformed_message_names_the_field(body: bytes, says: str) -> None:
    with pytest.raises(MalformedError, match=says):
        decode(Outer, body)


def test_a_message_over_the_limit_is_not_even_parsed() -> None:
    with pytest.raises(MalformedError, match="over the limit of 10"):
        decode(Outer, b'{"name":"long enough"}', max_bytes=10)
