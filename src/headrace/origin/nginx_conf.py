"""Write nginx's configuration for the origin folder. Pure: text from settings."""

import re
from importlib import resources

from headrace.base.errors import ConfigError
from headrace.catalog.model import MEDIA_TYPES, FileSuffix
from headrace.origin.server_config import OriginConfig

_UNSAFE = re.compile(r"[\"\\$\x00-\x1f\x7f]")
_PLACE = re.compile(r"^([ \t]*)\{\{(\w+)\}\}\n|\{\{(\w+)\}\}", re.MULTILINE)


def render_origin_conf(config: OriginConfig, *, folder: str, run_folder: str, user: str) -> str:
    """The configuration file.

    Args:
        folder: absolute, holds f/ab/<sha256>.<suffix>.
        run_folder: absolute, writable by nginx.
        user: whom workers run as when nginx is started by root; '' otherwise.

    Raises:
        ConfigError: a path holds characters that nginx would read as its own.
    """
    for value in (folder, run_folder, config.tls_certificate, config.tls_key, config.access_log):
        if _UNSAFE.search(value):
            raise ConfigError(f"path {value!r} cannot be used: it holds quotes, backslashes, dollars or line breaks")
    has_tls = bool(config.tls_certificate)
    values = {
        "workers": str(config.workers) if config.workers else "auto",
        "run_folder": run_folder,
        "folder": folder,
        "user": f"user {user};" if user else "",
        "access_log": f'"{config.access_log}"' if config.access_log else "off",
        "types": "\n".join(f"{media_type} {suffix};" for suffix, media_type in MEDIA_TYPES.items()),
        "suffixes": "|".join(FileSuffix),
        "listen": "\n".join(_listen(address, has_tls=has_tls) for address in config.listen),
        "tls": (
            f'ssl_certificate "{config.tls_certificate}";\nssl_certificate_key "{config.tls_key}";\n'
            "ssl_protocols TLSv1.2 TLSv1.3;\nhttp2 on;"
            if has_tls
            else ""
        ),
    }
    template = resources.files("headrace.origin").joinpath("origin.conf.template").read_text(encoding="utf-8")
    return _PLACE.sub(lambda match: _filled(match, values), template)


def _listen(address: str, *, has_tls: bool) -> str:
    only_six = " ipv6only=on" if address.startswith("[") else ""
    return f"listen {address}{' ssl' if has_tls else ''}{only_six};"


def _filled(match: re.Match[str], values: dict[str, str]) -> str:
    """A place alone on its line takes several lines at its depth, or vanishes; inside a line it takes a value."""
    if match[3]:
        return values[match[3]]
    return "".join(f"{match[1]}{line}\n" for line in values[match[2]].splitlines())
