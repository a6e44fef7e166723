"""Log lines as `event key=value`, the same for a person with grep and for a program."""

import logging
import sys
import time
from typing import Any


def event(logger: logging.Logger, name: str, *, level: int = logging.INFO, **fields: Any) -> None:
    """Log one event. Values with spaces, quotes or control characters are quoted; never pass a secret."""
    if logger.isEnabledFor(level):
        logger.log(level, "%s", " ".join([name, *(f"{key}={_value(value)}" for key, value in fields.items())]))


def set_up_logging(level: str = "INFO") -> None:
    """Send our log lines to standard error; called once, by the CLI. Library chatter starts at WARNING."""
    handler = logging.StreamHandler(sys.stderr)
    formatter = logging.Formatter("%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("headrace").setLevel(level.upper())


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    return repr(text) if not text or any(c.isspace() or c in "\"'=" or not c.isprintable() for c in text) else text
