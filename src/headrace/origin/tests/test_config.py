"""Settings of publish: defaults list every key, bad values are named."""

import pytest

from headrace.base.config import keys_in, keys_of
from headrace.base.errors import ConfigError
from headrace.origin.config import PublishConfig, default_settings, parse_publish_config


def test_defaults_and_dataclass_have_the_same_keys():
    assert keys_in(default_settings()) == keys_of(PublishConfig)


def test_a_file_is_laid_over_the_defaults():
    config = parse_publish_config('[video]\ncodecs = ["h264", "av1"]', source="my.toml")
    assert config.video.codecs == ("h264", "av1")
    assert config.ladder.segment_s == 4.0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[ladder]\nrungs = []", "ladder.rungs"),
        ("[ladder]\nsegment_s = 0.1", "ladder.segment_s"),
        ("[ladder]\nsegments = 1", "ladder.segments"),
        ("[audio]\nmax_channels = 0", "audio.max_channels"),
        ("[video]\ncodecs = []", "video.codecs"),
        ("[tools]\nstall_s = 0", "tools.stall_s"),
    ],
)
def test_bad_values_name_file_and_key(text, said):
    with pytest.raises(ConfigError, match=said) as caught:
        parse_publish_config(text, source="my.toml")
    assert "my.toml" in str(caught.value)
