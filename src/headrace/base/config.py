"""One TOML per process becomes one frozen dataclass. Unknown keys, wrong types and bad values name file, key and mend.

Each process package keeps a `defaults.toml` that lists every key; `check_defaults` keeps file and dataclass equal.
Settings are laid over those defaults, table by table.
"""

import dataclasses
import math
import tomllib
import typing
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from headrace.base.errors import ConfigError

T = TypeVar("T")


def parse_config(shape: type[T], text: str, *, source: str, defaults: str = "") -> T:
    """Lay TOML `text` over TOML `defaults` and build `shape` (a dataclass whose fields may be dataclasses).

    Raises:
        ConfigError: not TOML, an unknown key, a missing key, a value of the wrong type, nan or inf.
    """
    merged = _laid_over(_load(defaults, "built-in defaults"), _load(text, source))
    unknown = _unknown_keys(shape, merged, "")
    if unknown:
        raise ConfigError(f"{source}: unknown key {unknown[0]!r}; see defaults.toml for every key there is")
    endless = _not_finite(merged, "")
    if endless:
        raise ConfigError(f"{source}: key {endless[0]!r}: nan and inf are no values; write a number")
    try:
        return TypeAdapter(shape).validate_python(merged)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "(top level)"
        raise ConfigError(f"{source}: key {key!r}: {first['msg']}") from None


def keys_of(shape: Any, prefix: str = "") -> set[str]:
    """All dotted keys of a config dataclass; tests compare them with defaults.toml."""
    keys: set[str] = set()
    for field in dataclasses.fields(shape):
        inner = _table_shape(typing.get_type_hints(shape)[field.name])
        keys |= keys_of(inner, f"{prefix}{field.name}.") if inner else {prefix + field.name}
    return keys


def keys_in(text: str) -> set[str]:
    """All dotted keys that TOML `text` sets."""

    def walk(table: dict[str, Any], prefix: str) -> set[str]:
        keys: set[str] = set()
        for key, value in table.items():
            keys |= walk(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key}
        return keys

    return walk(_load(text, "text"), "")


def _load(text: str, source: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source}: not valid TOML: {error}") from None


def _laid_over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _laid_over(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _unknown_keys(shape: Any, table: dict[str, Any], prefix: str) -> list[str]:
    hints = typing.get_type_hints(shape)
    names = {field.name for field in dataclasses.fields(shape)}
    found: list[str] = []
    for key, value in table.items():
        if key not in names:
            found.append(prefix + key)
            continue
        inner = _table_shape(hints[key])
        if inner and isinstance(value, dict):
            found += _unknown_keys(inner, value, f"{prefix}{key}.")
        each = _tables_shape(hints[key])
        if each and isinstance(value, list):
            for number, item in enumerate(value):
                if isinstance(item, dict):
                    found += _unknown_keys(each, item, f"{prefix}{key}.{number}.")
    return found


def _not_finite(table: dict[str, Any], prefix: str) -> list[str]:
    # TOML has nan and inf; nan would pass every check of a range.
    found: list[str] = []
    for key, value in table.items():
        if isinstance(value, dict):
            found += _not_finite(value, f"{prefix}{key}.")
        elif isinstance(value, float) and not math.isfinite(value):
            found.append(prefix + key)
    return found


def _table_shape(hint: Any) -> Any:
    return hint if dataclasses.is_dataclass(hint) else None


def _tables_shape(hint: Any) -> Any:
    """The dataclass of `[[key]]` tables: those of a field tuple[Shape, ...]."""
    arguments = typing.get_args(hint)
    return _table_shape(arguments[0]) if typing.get_origin(hint) is tuple and arguments else None
