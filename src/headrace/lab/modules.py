"""Which modules a kernel must load, and in which order, for those wanted. Pure.

What a module needs stands in itself (`depends=` in its .modinfo section, written when the kernel was built), so that a
package needs not be installed, nor depmod be run, for its modules to be used.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePosixPath

_NEEDS = re.compile(rb"\0depends=([\w,-]*)\0")


def module_name(file: str) -> str:
    """The name by which a kernel knows a module's file, compressed or not."""
    return _known(re.sub(r"\.ko(\.\w+)?$", "", PurePosixPath(file).name))


def needs_of(body: bytes) -> tuple[str, ...]:
    """Names of the modules that one, of these bytes, needs at once."""
    found = _NEEDS.search(body)
    return tuple(_known(name) for name in found[1].decode().split(",") if name) if found else ()


def load_order(wanted: Iterable[str], needs: Callable[[str], Sequence[str] | None]) -> list[str]:
    """Names, each after those that it needs. What `needs` does not know (None) is left out: it is built in, or
    missing, which shows where it is used."""
    order: list[str] = []

    def add(name: str, path: tuple[str, ...]) -> None:
        known = needs(name)
        if known is None or name in order or name in path:
            return
        for one in known:
            add(one, (*path, name))
        order.append(name)

    for name in wanted:
        add(_known(name), ())
    return order


def _known(name: str) -> str:
    return name.replace("-", "_")
