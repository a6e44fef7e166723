"""Builders for tests of what reads access logs."""

from headrace.telemetry.access_log import FIELDS

_PLAIN = {
    "time": "1800000000.000",
    "status": "200",
    "bytes": "1000",
    "body_bytes": "600",
    "duration": "0.001",
    "client": "192.0.2.7",
    "method": "GET",
    "path": f"/f/ab/{'ab' * 32}.mp4",
    "protocol": "HTTP/1.1",
    "connection": "1",
    "connection_requests": "1",
}


def log_line(**fields: str) -> bytes:
    """One line as nginx writes it, without its line break; fields not named are plain, or '-'."""
    values = _PLAIN | fields
    return "\t".join(values.get(name, "-") for name, _ in FIELDS).encode()
