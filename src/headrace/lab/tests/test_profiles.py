"""Profiles of networks: those shipped, those of users, and the words for netem."""

from pathlib import Path

import pytest

from headrace.base.errors import ConfigError, UsageError
from headrace.lab.profiles import LAN, Direction, choose_profile, netem_words, queue_packets, read_profiles


def test_those_that_ship() -> None:
    found = read_profiles()
    assert set(found) == {"lan", "cable", "dsl", "wifi", "bufferbloat", "satellite", "reordering", "lossy"}
    assert found["lan"].is_plain
    assert all(not profile.is_plain for name, profile in found.items() if name != "lan")
    assert all(profile.about and profile.name == name for name, profile in found.items())
    assert LAN.is_plain


def test_own_ones_add_and_replace(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text('[dsl]\nabout = "mine"\ndown = { rate_bps = 1e6 }\n[desert]\nup = { loss_ratio = 0.5 }\n')
    found = read_profiles(own)
    assert found["dsl"].about == "mine"
    assert found["desert"].up.loss_ratio == 0.5
    assert found["wifi"] == read_profiles()["wifi"]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[a]\ndown = { loss_ratio = 2 }", "a.down"),
        ("[a]\ndown = { delay_ms = 2 }", "a.down.delay_ms"),
        ("[a]\ndelay_s = 2", "a.delay_s"),
        ("[a]\ndown = { delay_s = -1 }", "from 0"),
        ("[a]\ndown = { delay_s = nan }", "a.down.delay_s"),
        ("[a]\ndown = { burst_start_ratio = 0.1 }", "belong together"),
        ("[a]\ndown = { burst_start_ratio = 0.1, burst_end_ratio = 0.1, loss_ratio = 0.1 }", "exclude"),
        ("[a]\ndown = { reorder_ratio = 0.1 }", "need delay_s"),
        ("[a]\ndown = { rate_bps = 100 }", "8000"),
        ("[a", "not valid TOML"),
        ("a = 1", "a"),
    ],
)
def test_bad_ones_are_named(tmp_path: Path, text: str, named: str) -> None:
    own = tmp_path / "own.toml"
    own.write_text(text)
    with pytest.raises(ConfigError, match=named):
        read_profiles(own)


def test_no_such_file_or_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        read_profiles(tmp_path / "none.toml")
    with pytest.raises(UsageError, match="bufferbloat"):
        choose_profile("moon", read_profiles())


@pytest.mark.parametrize(
    ("direction", "words"),
    [
        (Direction(), "netem limit 20000"),
        (
            Direction(rate_bps=16e6, delay_s=0.02, jitter_s=0.002, loss_ratio=0.001, queue_s=0.1),
            "netem limit 162 delay 20000us 2000us loss random 0.1% rate 16000000bit",
        ),
        (
            Direction(delay_s=0.01, burst_start_ratio=0.002, burst_end_ratio=0.3, reorder_ratio=0.01),
            "netem limit 20000 delay 10000us loss gemodel 0.2% 30% 100% 0% reorder 1%",
        ),
        (Direction(duplicate_ratio=0.5), "netem limit 20000 duplicate 50%"),
    ],
)
def test_netem_words(direction: Direction, words: str) -> None:
    assert " ".join(netem_words(direction)) == words


def test_the_queue_is_bounded_both_ways() -> None:
    assert queue_packets(Direction(rate_bps=8_000)) == 10
    assert queue_packets(Direction(rate_bps=1e11, queue_s=10)) == 100_000
