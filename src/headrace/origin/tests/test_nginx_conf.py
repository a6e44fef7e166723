"""The origin's nginx configuration and settings."""

import dataclasses

import pytest

from headrace.base.config import keys_in, keys_of
from headrace.base.errors import ConfigError
from headrace.origin.nginx_conf import render_origin_conf
from headrace.origin.server_config import OriginConfig, default_server_settings, parse_origin_config, split_address


def render(text: str = "", **fields) -> str:
    config = dataclasses.replace(parse_origin_config(text, source="t"), **fields)
    return render_origin_conf(config, folder="/srv/origin", run_folder="/run/origin", user="")


def test_defaults_and_dataclass_have_the_same_keys():
    assert keys_in(default_server_settings()) == keys_of(OriginConfig)


def test_no_place_is_left_open():
    for text in ("", 'tls_certificate = "/c.pem"\ntls_key = "/k.pem"', 'workers = 3\naccess_log = "/l"'):
        assert "{{" not in render(text)
    assert 'root "/srv/origin";' in render()
    assert "listen [::]:8600 ipv6only=on;" in render()
    assert "listen 0.0.0.0:8600 ssl;" in render('tls_certificate = "/c.pem"\ntls_key = "/k.pem"')


@pytest.mark.parametrize("value", ['/a"; evil', "/a$b", "/a\nb", "/a\\b"])
def test_a_path_cannot_end_a_directive(value):
    with pytest.raises(ConfigError, match="cannot be used"):
        render(access_log=value)


@pytest.mark.parametrize("address", ["8600", "localhost:80", "1.2.3.4:0", "1.2.3.4:70000", "[::1]", "x;y:80"])
def test_bad_addresses_are_refused(address):
    with pytest.raises(ConfigError, match="listen address"):
        split_address(address)
    with pytest.raises(ConfigError):
        parse_origin_config(f"listen = ['{address}']", source="t")


def test_half_a_certificate_is_refused():
    with pytest.raises(ConfigError, match="need each other"):
        parse_origin_config('tls_key = "/k.pem"', source="t")
