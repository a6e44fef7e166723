import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.telemetry.cmcd import (
    HEADERS,
    KEYS,
    MOST_FLAWS,
    MOST_KEYS,
    Cmcd,
    Key,
    Kind,
    decode,
    decode_request,
    encode,
    to_headers,
    to_query,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Cmcd()),
        ("br=3200,bs,d=4004", Cmcd(bitrate_kbps=3200, is_starved=True, duration_ms=4004)),
        ("bs=?0,su=?1", Cmcd(is_starved=False, is_startup=True)),
        ("bs=false,su=true", Cmcd(is_starved=False, is_startup=True)),
        (r'cid="a \"b\" \\ c, d"', Cmcd(content_id=r'a "b" \ c, d')),
        ('nor="..%2Fx%20y.m4s"', Cmcd(next_object="../x y.m4s")),
        ("ot=av,sf=d,st=l", Cmcd(object_type="av", streaming_format="d", stream_type="l")),
        ('ot="v"', Cmcd(object_type="v")),
        ("pr=1.08,v=1", Cmcd(playback_rate=1.08, version=1)),
        ("br=12.6", Cmcd(bitrate_kbps=13)),
        (" br=1 ,  d=2 ", Cmcd(bitrate_kbps=1, duration_ms=2)),
        ("br=1,br=2", Cmcd(bitrate_kbps=2)),
        ('com.x-a="t",com.x-b=7,com.x-c', Cmcd(custom=(("com.x-a", "t"), ("com.x-b", 7), ("com.x-c", True)))),
        # What is not understood is left out and counted.
        ("br=fast", Cmcd(flaws=1)),
        ("br=-5", Cmcd(flaws=1)),
        ("br=99999999999999", Cmcd(flaws=1)),
        ("br=１２", Cmcd(flaws=1)),
        ("br", Cmcd(flaws=1)),
        ("sid=unquoted", Cmcd(flaws=1)),
        (f'sid="{"x" * 65}"', Cmcd(flaws=1)),
        ("ot=zz", Cmcd(flaws=1)),
        ("unknown=1", Cmcd(flaws=1)),
        ("br=(3200;v 300),d=1", Cmcd(duration_ms=1, flaws=1)),
        ('sid="no end,br=1', Cmcd(bitrate_kbps=1, flaws=1)),
        ("=,;,br=1", Cmcd(bitrate_kbps=1, flaws=2)),
        ("\x00\xff", Cmcd(flaws=1)),
    ],
)
def test_decode(text: str, expected: Cmcd) -> None:
    assert decode(text) == expected


def test_later_text_wins() -> None:
    assert decode("br=1,d=7", "br=2") == Cmcd(bitrate_kbps=2, duration_ms=7)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", Cmcd()),
        ("a=b", Cmcd()),
        ("CMCD=br%3D1%2Csid%3D%22s%22", Cmcd(bitrate_kbps=1, session_id="s")),
        ("not=a1&CMCD=br%3d2&x=y", Cmcd(bitrate_kbps=2)),
        ("CMCD=br=3,bs", Cmcd(bitrate_kbps=3, is_starved=True)),
        ("XCMCD=br%3D1", Cmcd()),
        ("CMCD=%zz%", Cmcd(flaws=1)),
        ("CMCD=", Cmcd()),
    ],
)
def test_decode_query(query: str, expected: Cmcd) -> None:
    assert decode_request(query=query) == expected


def test_header_wins_over_query() -> None:
    assert decode_request(headers=("", "bl=5", "br=9", ""), query="CMCD=br%3D1%2Cd%3D2") == Cmcd(
        bitrate_kbps=9, buffer_ms=5, duration_ms=2
    )


@pytest.mark.parametrize(
    ("cmcd", "text"),
    [
        (Cmcd(), ""),
        (Cmcd(is_starved=False, playback_rate=1.0, version=1), ""),
        (
            Cmcd(buffer_ms=21_350, deadline_ms=49, throughput_kbps=25_450, requested_kbps=50),
            "bl=21400,dl=0,mtp=25500,rtp=100",
        ),
        (Cmcd(version=2, playback_rate=0.5), "pr=0.5,v=2"),
        (Cmcd(session_id='a"b\\'), r'sid="a\"b\\"'),
        (Cmcd(object_type="v", bitrate_kbps=1), "br=1,ot=v"),
        (Cmcd(bitrate_kbps=1, custom=(("a-b", False), ("a-c", 1.5))), "a-c=1.5,br=1"),
    ],
)
def test_encode(cmcd: Cmcd, text: str) -> None:
    assert encode(cmcd) == text


def test_headers_by_key() -> None:
    cmcd = Cmcd(session_id="s", buffer_ms=100, bitrate_kbps=1, requested_kbps=100, custom=(("a-b", 1),))
    assert to_headers(cmcd) == {
        "cmcd-session": 'sid="s"',
        "cmcd-request": "a-b=1,bl=100",
        "cmcd-object": "br=1",
        "cmcd-status": "rtp=100",
    }
    assert set(to_headers(cmcd)) == set(HEADERS)


def test_every_field_has_a_key() -> None:
    assert {key.field for key in KEYS.values()} | {"custom", "flaws"} == set(Cmcd.__dataclass_fields__)


@given(st.text(max_size=6_000))
def test_decode_takes_anything(text: str) -> None:
    read = decode(text)
    assert read.flaws <= MOST_KEYS
    assert len(read.custom) <= MOST_KEYS
    decode_request(headers=(text,) * 4, query=f"CMCD={text}")


@given(st.lists(st.sampled_from(["br=1", 'sid="a', '"', ",", "=", "bs", 'x-y="\\', 'nor="%', "()", " "]), max_size=300))
def test_bad_text_ends_soon(parts: list[str]) -> None:
    assert decode("".join(parts)).flaws <= MOST_FLAWS + MOST_KEYS


def values_of(key: Key) -> st.SearchStrategy[object]:
    """All values that a player may give, rounded as they are written."""
    if key.kind is Kind.FLAG:
        return st.just(True)
    if key.kind is Kind.TOKEN:
        return st.sampled_from(sorted(key.tokens))
    if key.kind is Kind.WHOLE:
        return st.integers(2, 10**6).map(lambda number: number * key.step)
    if key.kind is Kind.DECIMAL:
        return st.integers(0, 999).map(lambda number: number / 100)
    return st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=64 if key.kind is Kind.ID else 80)


CMCDS = st.fixed_dictionaries({}, optional={key.field: values_of(key) for key in KEYS.values()}).map(
    lambda values: Cmcd(**values)  # type: ignore[arg-type]
)


@given(CMCDS)
def test_both_forms_carry_every_value(cmcd: Cmcd) -> None:
    as_default = Cmcd() if cmcd.playback_rate != 1 else Cmcd(playback_rate=1.0)
    for read in (decode_request(query=to_query(cmcd)), decode(*to_headers(cmcd).values())):
        assert read.flaws == 0
        for field in Cmcd.__dataclass_fields__:
            if field != "playback_rate" or as_default.playback_rate is None:
                assert getattr(read, field) == getattr(cmcd, field), field
