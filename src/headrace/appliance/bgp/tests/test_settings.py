"""Settings of BGP: mistakes name their key; what ExaBGP is told follows from them."""

import pytest

from headrace.appliance.bgp.speaker_conf import render_speaker_conf, speaker_environment
from headrace.appliance.config import AgentConfig, read_config
from headrace.base.errors import ConfigError

GOOD = """
[appliance]
id = "a1"
content_url = "http://192.0.2.10"
state = "/var/lib/headrace"
[control]
urls = ["https://control.example"]
[store]
folders = ["/disk/1"]
[bgp]
local_as = 64512
announce = ["192.0.2.10/32", "2001:db8::10/128"]
[[bgp.peers]]
address = "192.0.2.1"
peer_as = 64500
local_address = "192.0.2.10"
md5_password = "between us"
ttl_security_hops = 1
[[bgp.peers]]
address = "2001:db8::1"
peer_as = 64500
local_address = "2001:db8::10"
passive = true
port = 1790
"""


def read(good: str = "", bad: str = "") -> AgentConfig:
    return read_config(GOOD.replace(good, bad, 1) if good else GOOD, source="agent.toml")


@pytest.mark.parametrize(
    ("good", "bad", "told"),
    [
        ("local_as = 64512", "", "bgp.local_as"),
        ("peer_as = 64500", "peer_as = 4294967296", "bgp.peers.0.peer_as"),
        ('address = "192.0.2.1"', 'address = "router"', "bgp.peers.0.address"),
        ('address = "2001:db8::1"', 'address = "2001:0db8::1"', "write '2001:0db8::1' as '2001:db8::1'"),
        ('address = "2001:db8::1"', 'address = "fe80::1%eth0"', "bgp.peers.1.address"),
        ('local_address = "192.0.2.10"', 'local_address = "::1"', "same family"),
        ('local_address = "192.0.2.10"', 'local_address = "192.0.2.10"\nspeed = 9', "unknown key 'bgp.peers.0.speed'"),
        ('address = "2001:db8::1"', 'address = "192.0.2.1"', "same family"),
        ('md5_password = "between us"', "md5_password = '''a\"b'''", "bgp.peers.0.md5_password"),
        ('md5_password = "between us"', f'md5_password = "{"x" * 81}"', "at most 80"),
        ("ttl_security_hops = 1", "ttl_security_hops = 255", "ttl_security_hops"),
        ("port = 1790", "port = 0", "bgp.peers.1.port"),
        ("port = 1790", "most_prefixes = -1", "bgp.peers.1.most_prefixes"),
        ('"192.0.2.10/32"', '"192.0.2.10/24"', "bgp.announce"),
        ("local_as = 64512", "local_as = 64512\nwarn_ratio = 0.0", "bgp.warn_ratio"),
        ("local_as = 64512", "local_as = 64512\nhold_time_s = 2", "bgp.hold_time_s"),
        ("local_as = 64512", "local_as = 64512\nkeep_s = -1.0", "bgp.keep_s"),
        ("local_as = 64512", 'local_as = 64512\nrouter_id = "::1"', "bgp.router_id"),
    ],
)
def test_mistakes_name_their_key(good: str, bad: str, told: str):
    with pytest.raises(ConfigError) as error:
        read(good, bad)
    assert told in str(error.value)


def test_a_peer_named_twice_is_refused():
    twice = GOOD + '[[bgp.peers]]\naddress = "192.0.2.1"\npeer_as = 1\nlocal_address = "192.0.2.10"\n'
    with pytest.raises(ConfigError, match="twice"):
        read_config(twice, source="agent.toml")


def test_nothing_is_asked_of_those_without_peers():
    bgp = read_config(GOOD.partition("[bgp]")[0], source="agent.toml").bgp
    assert (bgp.peers, bgp.announce, bgp.local_as) == ((), (), 0)


def test_exabgp_is_told_of_each_session_what_was_set():
    text = render_speaker_conf(read().bgp, "collect this")
    first, second = text.split("\nneighbor ")[1:]
    for line in (
        "192.0.2.1 {",
        "router-id 192.0.2.10;",
        "connect 179;",
        'md5-password "between us";',
        "outgoing-ttl 255;",
        "incoming-ttl 255;",
        "family { ipv4 unicast; }",
        "unicast 192.0.2.10/32 next-hop 192.0.2.10;",
        "passive false;",
    ):
        assert line in first
    for line in ("listen 1790;", "passive true;", "unicast 2001:db8::10/128 next-hop 2001:db8::10;"):
        assert line in second
    assert "md5" not in second
    assert "ttl" not in second
    assert "run collect this;" in text


def test_nothing_is_announced_by_default_and_closed_peers_are_left_out():
    bgp = read('announce = ["192.0.2.10/32", "2001:db8::10/128"]', "").bgp
    assert "unicast 192" not in render_speaker_conf(bgp, "x")
    text = render_speaker_conf(bgp, "x", left_out={"192.0.2.1"})
    assert "neighbor 192.0.2.1 " not in text
    assert "neighbor 2001:db8::1 " in text


def test_exabgp_ends_with_its_collector_and_stays_who_it_is():
    environment = speaker_environment("me")
    assert environment["exabgp.api.terminate"] == "true"
    assert environment["exabgp.daemon.user"] == "me"
