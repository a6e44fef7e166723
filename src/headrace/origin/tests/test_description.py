"""Facts from the packager's MPD."""

import pytest

from headrace.origin.description import read_description
from headrace.origin.errors import EncodeError

HEAD = '<?xml version="1.0" encoding="UTF-8"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period>'


def test_video_and_audio():
    video = read_description(
        HEAD + '<AdaptationSet width="640" height="360" frameRate="30000/1001"><Representation codecs="avc1.64001e"/>'
        "</AdaptationSet></Period></MPD>"
    )
    assert (video.codecs, video.width, video.height, video.frame_rate) == ("avc1.64001e", 640, 360, "30000/1001")
    audio = read_description(
        HEAD + '<AdaptationSet><Representation codecs="mp4a.40.2" audioSamplingRate="48000">'
        '<AudioChannelConfiguration value="2"/></Representation></AdaptationSet></Period></MPD>'
    )
    assert (audio.codecs, audio.sample_rate_hz, audio.channels) == ("mp4a.40.2", 48_000, 2)


@pytest.mark.parametrize(
    "text", ["", "<MPD/>", HEAD + "<AdaptationSet><Representation/></AdaptationSet></Period></MPD>"]
)
def test_a_description_without_a_codec_is_refused(text):
    with pytest.raises(EncodeError):
        read_description(text)
