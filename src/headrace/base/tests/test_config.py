from dataclasses import dataclass, field

import pytest

from headrace.base.config import keys_in, keys_of, parse_config
from headrace.base.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    host: str = "127.0.0.1"
    port: int = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    name: str
    listen: Listen = field(default_factory=Listen)
    folders: tuple[str, ...] = ()


DEFAULTS = 'name = "x"\nfolders = []\n[listen]\nhost = "127.0.0.1"\nport = 80\n'


def test_settings_are_laid_over_defaults_table_by_table() -> None:
    settings = parse_config(Settings, "[listen]\nport = 81\n", source="a.toml", defaults=DEFAULTS)
    assert settings == Settings(name="x", listen=Listen(host="127.0.0.1", port=81))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nam = 1", r"a\.toml: unknown key 'nam'"),
        ("[listen]\nports = 1", r"unknown key 'listen\.ports'"),
        ("[listen]\nport = 'x'", r"key 'listen\.port'"),
        ("name = [", r"a\.toml: not valid TOML"),
        ("folders = 3", "key 'folders'"),
        ("[listen]\nport = nan", r"key 'listen\.port': nan"),
        ("[listen]\nport = -inf", r"key 'listen\.port': nan"),
    ],
)
def test_bad_settings_name_file_and_key(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        parse_config(Settings, text, source="a.toml", defaults=DEFAULTS)


def test_a_missing_key_is_named() -> None:
    with pytest.raises(ConfigError, match="key 'name'"):
        parse_config(Settings, "", source="a.toml")


def test_keys_of_a_shape_and_of_a_text_compare() -> None:
    assert keys_of(Settings) == keys_in(DEFAULTS) == {"name", "folders", "listen.host", "listen.port"}
