from pathlib import Path

import pytest

from headrace.base.config import keys_in, keys_of
from headrace.base.errors import ConfigError
from headrace.control.config import ControlConfig, beside, default_text, located_store, read_config
from headrace.control.loops.settings import FleetSettings


def test_defaults_list_every_key_and_agree_with_the_code():
    assert keys_of(ControlConfig) == keys_in(default_text())
    assert read_config("", source="x").fleet == FleetSettings()


def test_misses_go_to_a_steering_node_else_to_the_origin():
    both = '[urls]\norigin = "http://o/"\nsteering = ["http://s1/", "http://s2"]\n'
    assert read_config(both, source="x").loop_urls.redirect == "http://s1"
    alone = read_config('[urls]\norigin = "http://o/"\n', source="x").loop_urls
    assert (alone.origin, alone.redirect) == ("http://o", "http://o")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[listen]\nport = 70000", "listen.port"),
        ('[listen]\ntls_key = "k"', "tls_certificate"),
        ('[urls]\norigin = "ftp://x"', "urls.origin"),
        ('[urls]\nsteering = ["x"]', "urls.steering"),
        ("[limits]\nstop_s = 0", "limits"),
        ("[nonsense]\na = 1", "nonsense"),
    ],
)
def test_bad_values_are_named(text, named):
    with pytest.raises(ConfigError, match=named):
        read_config(text, source="control.toml")


def test_paths_are_relative_to_the_file():
    source = Path("/etc/headrace/control.toml")
    assert beside(source, "ca.pem") == Path("/etc/headrace/ca.pem")
    assert beside(source, "/x/ca.pem") == Path("/x/ca.pem")
    assert beside(source, "") is None
    assert located_store("sqlite:///x.db", source.parent) == "sqlite:////etc/headrace/x.db"
    assert located_store("sqlite:////var/x.db", source.parent) == "sqlite:////var/x.db"
    assert located_store("postgresql+psycopg://h/d", source.parent) == "postgresql+psycopg://h/d"
