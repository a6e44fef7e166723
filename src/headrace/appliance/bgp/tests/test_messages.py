"""What ExaBGP 5 says, taken down from a real one, and what no peer should be able to do to the reader of it."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.appliance.bgp.messages import Announced, Down, EndOfRib, Notified, Up, Withdrawn, read_line
from headrace.routes.model import AddressFamily, Attributes, RouteError, RouteOrigin, parse_prefix

V4, V6 = AddressFamily.IPV4, AddressFamily.IPV6
PEER = "192.0.2.1"


def line(kind: str, **said: object) -> bytes:
    neighbour = {"address": {"local": "192.0.2.2", "peer": PEER}, "asn": {"local": 1, "peer": 2}, **said}
    return json.dumps({"exabgp": "5.0.0", "type": kind, "neighbor": neighbour}).encode()


def update(**said: object) -> bytes:
    return line("update", direction="receive", message={"update": said})


def test_states_and_notifications():
    assert read_line(line("state", state="up")) == [Up(peer=PEER)]
    assert read_line(line("state", state="connected")) == []
    assert read_line(line("state", state="down", reason="why")) == [Down(peer=PEER, reason="why")]
    said = {"code": 6, "subcode": 2, "data": "0x", "message": "bye\n\x1b[0m"}
    assert read_line(line("notification", notification=said)) == [Notified(peer=PEER, code=6, subcode=2, text="bye[0m")]
    assert read_line(b'{ "exabgp": "5.0.0", "type": "notification", "notification": "shutdown" }\n') == []
    assert read_line(b"shutdown in progress\n") == []


def test_the_end_of_rib_is_of_one_family():
    assert read_line(line("update", message={"eor": {"afi": "ipv6", "safi": "unicast"}})) == [
        EndOfRib(peer=PEER, family=V6)
    ]


def test_an_update_with_all_there_is():
    path = {"1": {"element": "as-set", "value": [7, 8]}, "0": {"element": "as-sequence", "value": [64500, 64499]}}
    said = {
        "origin": "incomplete",
        "as-path": path,
        "med": 0,
        "local-preference": 100,
        "community": [[64500, 20], [64500, 7]],
        "large-community": [[64500, 1, 2]],
    }
    found = read_line(
        update(
            attribute=said,
            announce={"ipv4 unicast": {"192.0.2.1": ["192.0.2.0/24", {"nlri": "198.51.100.0/24"}]}},
            withdraw={"ipv4 unicast": ["203.0.113.0/24"], "ipv4 flow": ["x"]},
        )
    )
    attributes = Attributes(
        as_path=(64500, 64499, (7, 8)),
        origin=RouteOrigin.INCOMPLETE,
        next_hop="192.0.2.1",
        med=0,
        communities=("64500:7", "64500:20", "64500:1:2"),
    )
    announced = [parse_prefix("192.0.2.0/24"), parse_prefix("198.51.100.0/24")]
    assert found == [
        Withdrawn(peer=PEER, family=V4, prefixes=[parse_prefix("203.0.113.0/24")]),
        Announced(peer=PEER, family=V4, prefixes=announced, attributes=attributes),
    ]


@pytest.mark.parametrize(
    ("said", "meant"),
    [("10.1.2.3/8", "10.0.0.0/8"), ("255.255.255.255/0", "0.0.0.0/0"), ("2001:db8::1/47", "2001:db8::/47")],
)
def test_bits_behind_the_length_do_not_count(said: str, meant: str):
    family = "ipv6" if ":" in said else "ipv4"
    (found,) = read_line(update(withdraw={f"{family} unicast": [said]}))
    assert found.prefixes == [parse_prefix(meant)]


@pytest.mark.parametrize(
    "bad",
    [
        b"{",
        b"{}",
        b'{"type": "update", "neighbor": 5}',
        line("state"),
        line("update", message={"eor": {"afi": "l2vpn", "safi": "evpn"}}),
        update(withdraw={"ipv4 unicast": ["10.0.0.0/33"]}),
        update(withdraw={"ipv4 unicast": ["::/0"]}),
        update(withdraw={"ipv4 unicast": [7]}),
        update(announce={"ipv4 unicast": {"1.2.3.4": ["10.0.0.0/8"]}}, attribute={"origin": "mars"}),
        update(announce={"ipv4 unicast": {"1.2.3.4": ["10.0.0.0/8"]}}, attribute={"community": [[1]]}),
        update(announce={"ipv4 unicast": {"1.2.3.4": ["10.0.0.0/8"]}}, attribute={"as-path": {"x": {}}}),
    ],
)
def test_what_is_not_understood_is_named(bad: bytes):
    with pytest.raises(RouteError, match="not understood"):
        read_line(bad)


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 1 << 33)
    | st.text(max_size=6)
    | st.sampled_from(("ipv4 unicast", "up")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=80)
@given(st.sampled_from(("announce", "withdraw", "attribute", "eor", "state", "notification")), _JSON)
def test_nothing_but_route_errors_comes_out(key: str, value: object):
    for text in (update(**{key: value}), line("state", **{key: value}), line("update", message={key: value})):
        try:
            read_line(text)
        except RouteError:
            continue
