"""Settings of judging: error rates, budgets, and the checks of levels 3 and 4 with their margins, each with its
reason.
"""

from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import ClassVar

from pydantic import ConfigDict

from headrace.base.config import parse_config
from headrace.base.errors import ConfigError
from headrace.release.errors import CheckError
from headrace.release.model import Better, CheckDefinition, Level, Margin, Metric, Scale, check_id, level_of


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorSettings:
    """How often a verdict may be wrong."""

    false_alarm_ratio: float
    false_pass_ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetSettings:
    """How much may be spent on a check."""

    most_pairs: int
    repeats: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BisectionSettings:
    """When the search for a commit ends, and what it takes for granted."""

    confidence: float
    confirmations: int
    most_steps: int
    most_cost_s: float
    false_pass_ratio: float
    false_fail_ratio: float
    implausible_weight: float
    build_cost_s: float
    run_cost_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckSettings:
    """One check."""

    # The table of checks is open (users add their own), so unknown keys are caught here and not by base.config.
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    metric: str
    unit: str
    margin: float
    why: str
    better: Better = Better.LOWER
    scale: Scale = Scale.RATIO
    repeat_spread: float = 0.0
    is_on: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteSettings:
    """An upstream's own tests; the words of command, environment and folder may hold `{nginx}`, `{linux}`, `{source}`,
    `{work}` (docs/qualify.md).
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    component: str
    command: tuple[str, ...]
    about: str = "upstream's own tests"
    timeout_s: float = 1800.0
    environment: dict[str, str] = field(default_factory=dict)
    folder: str = ""
    is_on: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseConfig:
    """All settings of judging."""

    errors: ErrorSettings
    budget: BudgetSettings
    bisection: BisectionSettings
    checks: dict[str, CheckSettings]
    suites: dict[str, SuiteSettings]

    @property
    def definitions(self) -> tuple[CheckDefinition, ...]:
        """The family of checks that are on, in order of level and id."""
        made = [_definition(name, settings) for name, settings in self.checks.items() if settings.is_on]
        return tuple(sorted(made, key=lambda one: (one.level, one.check_id)))


def default_text() -> str:
    """defaults.toml, which lists every key."""
    return resources.files("headrace.release").joinpath("defaults.toml").read_text(encoding="utf-8")


def parse_release_config(text: str = "", *, source: str = "defaults") -> ReleaseConfig:
    """Read settings from TOML text, laid over the defaults.

    Raises:
        ConfigError: the message names file, key and mend.
    """
    config = parse_config(ReleaseConfig, text, source=source, defaults=default_text())
    _check_ranges(config, source)
    for name, settings in config.checks.items():
        _check_check(name, settings, source)
    for name, suite in config.suites.items():
        _check_suite(name, suite, source)
    return config


def load_release_config(path: Path) -> ReleaseConfig:
    """Read settings from a file; raises ConfigError as `parse_release_config` does."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from None
    return parse_release_config(text, source=str(path))


def _definition(name: str, settings: CheckSettings) -> CheckDefinition:
    checked = check_id(name)
    return CheckDefinition(
        check_id=checked,
        level=level_of(checked),
        metric=Metric(name=settings.metric, unit=settings.unit, better=settings.better, scale=settings.scale),
        margin=Margin(value=settings.margin, why=settings.why),
        repeat_spread=settings.repeat_spread or None,
    )


def _check_check(name: str, settings: CheckSettings, source: str) -> None:
    where = f"{source}: key 'checks.\"{name}\"'"
    try:
        level = level_of(check_id(name))
    except CheckError as error:
        raise ConfigError(f"{where}: {error}") from None
    if level not in {Level.SOAK, Level.PERFORMANCE}:
        raise ConfigError(f"{where}: only checks of the levels soak and performance have margins")
    if not settings.margin >= 0 or (settings.scale is Scale.RATIO and settings.margin >= 1):
        raise ConfigError(f"{where}: margin is {settings.margin}; write 0.05 for 5 %, never below 0")
    if settings.repeat_spread < 0:
        raise ConfigError(f"{where}: repeat_spread is {settings.repeat_spread}, must be 0 (not deterministic) or more")
    if not settings.why.strip():
        raise ConfigError(f"{where}: a margin needs its reason: fill 'why'")


def _check_suite(name: str, suite: SuiteSettings, source: str) -> None:
    where = f"{source}: key 'suites.\"{name}\"'"
    try:
        level = level_of(check_id(name))
    except CheckError as error:
        raise ConfigError(f"{where}: {error}") from None
    if level is not Level.FUNCTION:
        raise ConfigError(f"{where}: an upstream's own tests are of level 1: name it function.<name>")
    if not suite.command or not suite.command[0]:
        raise ConfigError(f'{where}: command is empty; write the program and its words, as ["prove", "-r", "."]')
    if not 0 < suite.timeout_s <= 86_400:
        raise ConfigError(f"{where}: timeout_s is {suite.timeout_s:g}, must be above 0 and at most 86400")


def _check_ranges(config: ReleaseConfig, source: str) -> None:
    errors, budget, bisection = config.errors, config.budget, config.bisection
    for key, value, least, most in (
        ("errors.false_alarm_ratio", errors.false_alarm_ratio, 1e-6, 0.5),
        ("errors.false_pass_ratio", errors.false_pass_ratio, 1e-6, 0.5),
        ("budget.most_pairs", budget.most_pairs, 1, 100_000),
        ("budget.repeats", budget.repeats, 2, 1000),
        ("bisection.confidence", bisection.confidence, 0.5, 0.999999),
        ("bisection.confirmations", bisection.confirmations, 1, 100),
        ("bisection.most_steps", bisection.most_steps, 1, 100_000),
        ("bisection.most_cost_s", bisection.most_cost_s, 1, 1e9),
        ("bisection.false_pass_ratio", bisection.false_pass_ratio, 1e-6, 0.49),
        ("bisection.false_fail_ratio", bisection.false_fail_ratio, 1e-6, 0.49),
        ("bisection.implausible_weight", bisection.implausible_weight, 1e-6, 1),
        ("bisection.build_cost_s", bisection.build_cost_s, 0, 1e9),
        ("bisection.run_cost_s", bisection.run_cost_s, 0.001, 1e9),
    ):
        if not least <= value <= most:
            raise ConfigError(f"{source}: key {key!r} is {value}, must be {least} to {most}")
