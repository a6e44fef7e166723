"""Check the sizes of docs/house style: functions at most 60 lines, modules at most 500 (tests 800), no grab-bag names.

Imports inside functions are allowed in `cli` only (start-up time), where ruff's PLC0415 would forbid them everywhere.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

MAX_FUNCTION_LINES = 60
MAX_MODULE_LINES = 500
MAX_TEST_MODULE_LINES = 800
GRAB_BAGS = {"utils", "util", "helpers", "common", "manager", "misc"}


def faults(path: Path) -> Iterator[str]:
    text = path.read_text(encoding="utf-8")
    is_test = "tests" in path.parts
    limit = MAX_TEST_MODULE_LINES if is_test else MAX_MODULE_LINES
    lines = text.count("\n")
    if lines > limit:
        yield f"{path}: {lines} lines, at most {limit}: split by the question answered"
    if path.stem in GRAB_BAGS:
        yield f"{path}: {path.stem!r} names no question; say what it answers"
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        length = (node.end_lineno or node.lineno) - node.lineno + 1
        if length > MAX_FUNCTION_LINES:
            yield f"{path}:{node.lineno}: {node.name} has {length} lines, at most {MAX_FUNCTION_LINES}"
        if not is_test and "cli" not in path.parts:
            yield from inner_imports(path, node)


def inner_imports(path: Path, function: ast.AST) -> Iterator[str]:
    for node in ast.walk(function):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield f"{path}:{node.lineno}: import inside a function hides a dependency"


def main() -> int:
    found = [
        fault
        for top in ("src", "tests", "bench", "scripts")
        for path in sorted(Path(top).rglob("*.py"))
        for fault in faults(path)
    ]
    print("\n".join(found) if found else "sizes: all within limits")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
