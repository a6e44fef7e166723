"""The agent's configuration: defaults and dataclass agree, and each mistake names its key."""

import pytest

from headrace.appliance.config import AgentConfig, OnMiss, default_text, read_config
from headrace.base.config import keys_in, keys_of
from headrace.base.errors import UsageError

GOOD = """
[appliance]
id = "a1"
content_url = "http://192.0.2.10"
state = "/var/lib/headrace"
[control]
urls = ["https://control.example"]
[store]
folders = ["/disk/1", "/disk/2"]
"""


def test_defaults_list_every_key():
    assert keys_in(default_text()) == keys_of(AgentConfig)


def test_a_short_file_is_enough():
    config = read_config(GOOD, source="agent.toml")
    assert config.store.folders == ("/disk/1", "/disk/2")
    assert config.nginx.on_miss is OnMiss.REDIRECT
    assert config.state.is_absolute()


@pytest.mark.parametrize(
    ("good", "bad", "told"),
    [
        ('id = "a1"', 'id = "A 1"', "agent.toml: key 'appliance.id'"),
        ('id = "a1"', "", "agent.toml: key 'appliance.id'"),
        ("[store]", "[fill]\nturn_interval_s = nan\n[store]", "fill.turn_interval_s"),
        ("[store]", "[fill]\nstall_timeout_s = inf\n[store]", "fill.stall_timeout_s"),
        ('content_url = "http://192.0.2.10"', "", "appliance.content_url"),
        ('content_url = "http://192.0.2.10"', 'content_url = "192.0.2.10"', "http://"),
        ('"https://control.example"', '"control.example"', "control.urls"),
        ('state = "/var/lib/headrace"', 'state = "state"', "absolute"),
        ('"/disk/2"', '"/disk/1"', "twice"),
        ('"/disk/1", "/disk/2"', "", "store.folders"),
        ("[store]", "[fill]\nfiles_at_once = 0\n[store]", "fill.files_at_once"),
        ("[store]", "[fill]\ndelete_grace_s = -1\n[store]", "fill.delete_grace_s"),
        ("[store]", '[nginx]\ntls_listen = ["[::]:443"]\n[store]', "nginx.tls_certificate"),
        ("[store]", '[nginx]\non_miss = "cache"\n[store]', "nginx.on_miss"),
        ("[store]", "[store]\nspeed = 9", "store.speed"),
    ],
)
def test_mistakes_name_their_key(good, bad, told):
    with pytest.raises(UsageError, match=told.replace(".", r"\.")):
        read_config(GOOD.replace(good, bad), source="agent.toml")
