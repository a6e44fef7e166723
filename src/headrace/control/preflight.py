"""What a start of this control node would run into, found without starting: changes nothing, creates nothing."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from headrace.base.errors import HeadraceError
from headrace.control.adapters.certificates import check_server_files
from headrace.control.adapters.migrate import look
from headrace.control.bootstrap import read_token_file
from headrace.control.config import ControlConfig, beside, located_store

Finding = str | HeadraceError
"""A sentence for people, or what would keep the node from starting."""


def inspect_node(config: ControlConfig, source: Path, *, now_s: float) -> tuple[Finding, ...]:
    """Look at everything that the configuration names on this machine, and at the store.

    Args:
        source: the configuration file; paths in it are relative to its folder.
    """
    tokens = [
        file
        for name in (config.auth.admin_token_file, config.auth.read_token_file)
        if (file := beside(source, name)) is not None
    ]
    works: list[Callable[[], str]] = [
        partial(_store, located_store(config.store.url, source.parent)),
        partial(_certificate, config, source, now_s),
        *(partial(_token, file) for file in tokens),
    ]
    return tuple(map(_found, works))


def _found(work: Callable[[], str]) -> Finding:
    try:
        return work()
    except HeadraceError as error:
        return error


def _store(url: str) -> str:
    seen = look(url)
    if not seen.is_there:
        return f"store: {url.removeprefix('sqlite:///')} is not there yet; the first start makes it"
    if seen.revision is None:
        return f"store: empty; the first start makes schema {seen.newest}"
    if seen.revision != seen.newest:
        return f"store: schema {seen.revision}; the next start brings it to {seen.newest}"
    return f"store: schema {seen.revision}, up to date"


def _certificate(config: ControlConfig, source: Path, now_s: float) -> str:
    certificate, key = beside(source, config.listen.tls_certificate), beside(source, config.listen.tls_key)
    if certificate is None or key is None:
        return "TLS: off, plain HTTP"
    end = check_server_files(certificate, key, now_s=now_s)
    return f"TLS: certificate and key fit, valid until {end:%Y-%m-%d}"


def _token(file: Path) -> str:
    return f"token file {file.name}: can be used" if read_token_file(file) else f"token file {file.name}: not there"
