"""Which video renditions a source gets: from the lowest rung up to its own height, never upscaled. Pure.

Input: the probed video track and the ladder's settings. Never looks at a file.
"""

from headrace.origin.config import LadderConfig
from headrace.origin.model import Rung, VideoTrack

NEAR_RATIO = 1.1
"""A source within 10 % of a rung does not get a rung of its own: the two would look alike and split the caches."""
FAST_FRAME_RATE = 32
FAST_RATIO = 1.5
"""50 and 60 frames a second need about half as much again, as motion between frames is smaller."""


def choose_rungs(video: VideoTrack, ladder: LadderConfig) -> tuple[Rung, ...]:
    """The rungs for `video`, lowest first; always at least one."""
    source = even(min(video.width, video.height))
    ceilings: dict[int, int] = {rung.height: rung.max_bps for rung in ladder.rungs}
    table = sorted(ceilings.items())
    heights = [height for height, _ in table if even(height) <= source]
    if not heights or source > heights[-1] * NEAR_RATIO:
        heights.append(source)
    is_fast = min(float(video.frame_rate), ladder.max_frame_rate) > FAST_FRAME_RATE
    return tuple(
        _rung(video, height, round(_ceiling_bps(height, table) * (FAST_RATIO if is_fast else 1))) for height in heights
    )


def even(length: int) -> int:
    """The nearest even number not above `length`, at least 2: 4:2:0 pictures have even sides."""
    return max(2, length - length % 2)


def _rung(video: VideoTrack, height: int, max_bps: int) -> Rung:
    scale = even(height) / min(video.width, video.height)
    return Rung(
        height=height, out_width=_side(video.width, scale), out_height=_side(video.height, scale), max_bps=max_bps
    )


def _side(length: int, scale: float) -> int:
    """The even number nearest to the scaled side, but not above the source's own."""
    return max(2, min(even(length), 2 * round(length * scale / 2)))


def _ceiling_bps(height: int, table: list[tuple[int, int]]) -> int:
    """The rung's own ceiling, or one between its neighbours in proportion to the picture's area."""
    below = [(h, bps) for h, bps in table if h <= height]
    above = [(h, bps) for h, bps in table if h >= height]
    if not below:
        return max(10_000, round(above[0][1] * (height / above[0][0]) ** 2))
    if not above:
        return round(below[-1][1] * (height / below[-1][0]) ** 2)
    (low, low_bps), (high, high_bps) = below[-1], above[0]
    if low == high:
        return low_bps
    share = (height**2 - low**2) / (high**2 - low**2)
    return round(low_bps + share * (high_bps - low_bps))
