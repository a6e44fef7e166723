"""The configuration of judging: every key listed, every margin with its reason."""

import tomllib

import pytest

from headrace.base.config import keys_in, keys_of
from headrace.base.errors import ConfigError
from headrace.release.config import ReleaseConfig, default_text, load_release_config, parse_release_config
from headrace.release.model import Level


def test_defaults_list_every_key() -> None:
    listed = {"checks" if key.startswith("checks.") else key for key in keys_in(default_text())}
    # A table of none has no keys of its own.
    assert listed | {"suites"} == keys_of(ReleaseConfig)
    assert tomllib.loads(default_text())["suites"] == {}


def test_default_checks_are_of_the_levels_that_have_margins() -> None:
    definitions = parse_release_config().definitions
    assert {one.level for one in definitions} == {Level.SOAK, Level.PERFORMANCE}
    assert all(len(one.margin.why) > 20 for one in definitions)
    assert [one.level for one in definitions] == sorted(one.level for one in definitions)
    spreads = [one for one in definitions if one.repeat_spread]
    assert {one.level for one in spreads} == {Level.SOAK, Level.PERFORMANCE}
    assert all(one.repeat_spread <= one.margin.value / 2 for one in spreads)


def test_a_margin_can_be_changed_and_a_check_switched_off_and_added() -> None:
    text = """
    [checks."performance.cpu-per-gb"]
    margin = 0.2
    [checks."performance.throughput"]
    is_on = false
    [checks."performance.mine"]
    metric = "m"
    unit = "s"
    margin = 0.1
    why = "ours"
    """
    made = {one.check_id: one for one in parse_release_config(text).definitions}
    assert made["performance.cpu-per-gb"].margin.value == 0.2
    assert "virtual machines" in made["performance.cpu-per-gb"].margin.why
    assert "performance.throughput" not in made
    assert made["performance.mine"].margin.why == "ours"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[errors]\nfalse_alarm_ratio = 0.9", "errors.false_alarm_ratio"),
        ("[budget]\nrepeats = 1", "budget.repeats"),
        ("[bisection]\nconfidence = 1.0", "bisection.confidence"),
        ("[errors]\nnew = 1", "errors.new"),
        ('[checks."performance.cpu-per-gb"]\nmargn = 0.1', "margn"),
        ('[checks."performance.cpu-per-gb"]\nmargin = -0.1', "margin is -0.1"),
        ('[checks."performance.cpu-per-gb"]\nmargin = 1.0', "margin is 1.0"),
        ('[checks."performance.cpu-per-gb"]\nwhy = " "', "reason"),
        ('[checks."performance.cpu-per-gb"]\nrepeat_spread = -1', "repeat_spread"),
        ('[checks.nonsense]\nmetric = "m"\nunit = "s"\nmargin = 0.1\nwhy = "x"', "nonsense"),
        ('[checks."function.x"]\nmetric = "m"\nunit = "s"\nmargin = 0.1\nwhy = "x"', "soak and performance"),
    ],
)
def test_a_bad_setting_is_named(text: str, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        parse_release_config(text, source="mine.toml")


def test_a_file_that_is_not_there_is_named(tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml"):
        load_release_config(tmp_path / "none.toml")
    (tmp_path / "own.toml").write_text("[budget]\nmost_pairs = 7\n")
    assert load_release_config(tmp_path / "own.toml").budget.most_pairs == 7


SUITE = """
[suites."function.nginx-tests"]
component = "nginx"
command = ["prove", "-r", "{source}"]
environment = { TEST_NGINX_BINARY = "{nginx}" }
"""


def test_an_upstreams_own_tests() -> None:
    suite = parse_release_config(SUITE).suites["function.nginx-tests"]
    assert suite.command == ("prove", "-r", "{source}")
    assert (suite.environment, suite.timeout_s) == ({"TEST_NGINX_BINARY": "{nginx}"}, 1800.0)
    assert parse_release_config().suites == {}


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        ("function.nginx-tests", "soak.nginx-tests", "level 1"),
        ("function.nginx-tests", "nginx", "not an id"),
        ('"prove", "-r", "{source}"', "", "command is empty"),
        ('component = "nginx"', 'component = "nginx"\ntimeout_s = 0', "timeout_s"),
        ('component = "nginx"', 'component = "nginx"\ntime = 1', "time"),
    ],
)
def test_suites_that_cannot_be(before: str, after: str, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        parse_release_config(SUITE.replace(before, after))
