"""Settings: every key listed, mistakes named."""

import pytest

from headrace.base.config import keys_in, keys_of
from headrace.base.errors import ConfigError
from headrace.playback.config import PlaybackConfig, default_text, parse_playback_config
from headrace.playback.testing import REQUIRED, make_config


def test_defaults_list_every_key() -> None:
    assert keys_in(default_text()) == keys_of(PlaybackConfig)


def test_required_keys_are_enough() -> None:
    config = make_config()
    assert config.listen.port == 8500
    assert config.rank_limits.pathways == 4


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "control.urls"),
        (REQUIRED + "[answers]\npathways = 0", "answers.pathways"),
        (REQUIRED + "[listen]\nport = 0", "listen.port"),
        (REQUIRED + "[listen]\ntls_key = 'x'", "tls_certificate"),
        (REQUIRED + "[clients]\ntrusted_proxies = ['nonsense']", "trusted_proxies"),
        (REQUIRED + "[clients]\naddress_header = 'x-real-ip'", "address_header"),
        (REQUIRED + "[answers]\npublic_url = 'steer.example'", "public_url"),
        (REQUIRED + "[answers]\nunknown = 1", "answers.unknown"),
    ],
)
def test_a_mistake_is_named(text: str, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        parse_playback_config(text, source="steer.toml")
