"""Which module files a kernel must load, and in which order, for the modules wanted. Pure."""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath


def module_files(modules_dep: str, wanted: Sequence[str]) -> list[str]:
    """Files of the text of modules.dep, each after those that it needs. What the kernel has not as a module is left
    out: it is built in, or missing, which shows where it is used."""
    needs = {}
    by_name = {}
    for line in modules_dep.splitlines():
        file, _, rest = line.partition(":")
        needs[file] = rest.split()
        by_name[_name(file)] = file
    order: list[str] = []
    for name in wanted:
        file = by_name.get(name.replace("-", "_"), "")
        # modules.dep lists all that is needed, the deepest last.
        order += [part for part in [*reversed(needs.get(file, [])), file] if part and part not in order]
    return order


def _name(file: str) -> str:
    return re.sub(r"\.ko(\.\w+)?$", "", PurePosixPath(file).name).replace("-", "_")
