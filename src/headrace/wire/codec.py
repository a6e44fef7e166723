"""The only way between bytes and our values: JSON, bounded in size, checked against a dataclass.

Unknown fields are ignored so that an older peer understands a newer one; missing or wrong ones raise with their path.
"""

from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from headrace.wire.errors import MalformedError

T = TypeVar("T")

MAX_MESSAGE_BYTES = 32 * 1024 * 1024


_adapters: dict[Any, TypeAdapter[Any]] = {}


def _adapter(shape: Any) -> TypeAdapter[Any]:
    adapter = _adapters.get(shape)
    if adapter is None:
        adapter = _adapters[shape] = TypeAdapter(shape)
    return adapter


def encode(value: Any, shape: Any = None) -> bytes:
    """JSON bytes of a dataclass (or of `shape`, for generic containers)."""
    return _adapter(shape or type(value)).dump_json(value)


def decode(shape: type[T], body: bytes | str, *, max_bytes: int = MAX_MESSAGE_BYTES) -> T:
    """Read `shape` from JSON.

    Raises:
        MalformedError: too large, not JSON, or not of this shape; names the first field at fault.
    """
    if len(body) > max_bytes:
        raise MalformedError(f"message of {len(body)} bytes is over the limit of {max_bytes}")
    try:
        result: T = _adapter(shape).validate_json(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "message"
        raise MalformedError(f"{where}: {first['msg']}") from None
    return result
