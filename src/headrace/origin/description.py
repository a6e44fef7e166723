"""What the packager's MPD says of the one rendition it made. Pure."""

from dataclasses import dataclass
from fractions import Fraction

from lxml import etree

from headrace.origin.errors import EncodeError


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """Facts of a rendition that its boxes do not give in the form that playlists need."""

    codecs: str
    width: int
    height: int
    frame_rate: str
    """'' for audio."""
    sample_rate_hz: int
    channels: int


def read_description(mpd: str) -> Description:
    """Read the MPD of a single rendition.

    Raises:
        EncodeError: no representation with its codec in it.
    """
    parser = etree.XMLParser(resolve_entities=False, no_network=True, remove_comments=True)
    try:
        root = etree.fromstring(mpd.encode("utf-8"), parser)
    except etree.XMLSyntaxError as error:
        raise EncodeError(f"the packager's description cannot be read: {error}") from None
    found = root.findall(".//{*}Representation")
    if len(found) != 1 or not found[0].get("codecs"):
        raise EncodeError(f"the packager described {len(found)} renditions in place of one with a codec")
    both = {**dict(found[0].getparent().attrib), **dict(found[0].attrib)}  # type: ignore[union-attr]
    layout = found[0].find("{*}AudioChannelConfiguration")
    return Description(
        codecs=str(both["codecs"]),
        width=int(both.get("width", 0)),
        height=int(both.get("height", 0)),
        frame_rate=_reduced(str(both.get("frameRate", ""))),
        sample_rate_hz=int(str(both.get("audioSamplingRate", "0")).split()[0]),
        channels=int(layout.get("value", "0"), 10) if layout is not None else 0,
    )


def _reduced(rate: str) -> str:
    """'12800/512' -> '25', '30000/1001' stays."""
    try:
        return str(Fraction(rate)) if rate else ""
    except (ValueError, ZeroDivisionError):
        return ""
