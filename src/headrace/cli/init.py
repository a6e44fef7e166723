"""`headrace init`: what a new network needs before its first control node starts."""

import json
from pathlib import Path
from typing import Annotated

import typer

from headrace.base.clock import SystemClock
from headrace.base.errors import UsageError
from headrace.cli.console import AsJson, err, out
from headrace.wire.files import write_atomic

SECRET = 0o600
PUBLIC = 0o644


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("init")(_init)


def _init(
    folder: Annotated[Path, typer.Argument(help="Folder for certificates, tokens and settings.")],
    host: Annotated[
        list[str] | None,
        typer.Option(help="Name or address at which control is reached; give it again for more. Default: localhost."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there: every certificate and token.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a private CA, control's certificate, the first tokens, and settings to start from.

    Keep ca.key and admin.token safe; agents and steering nodes need ca.pem and their own tokens only.

    Example: [bold]headrace init /etc/headrace --host control.example.net --host 192.0.2.5[/]
    """
    hosts = tuple(host or ["localhost", "127.0.0.1", "::1"])
    files = _files(hosts)
    present = [name for name in files if (folder / name).exists()]
    if present and not force:
        raise UsageError(
            f"{folder} holds {', '.join(present)} already: choose another folder, or --force replaces them"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, (body, mode) in files.items():
            write_atomic(folder / name, body, mode=mode)
            (folder / name).chmod(mode)
    except OSError as error:
        raise UsageError(f"cannot write into {folder}: {error}") from None
    if as_json:
        typer.echo(json.dumps({name: str(folder / name) for name in files}))
        return
    for name in files:
        out.print(f"  {folder / name}", soft_wrap=True)
    err.print("\nStart the control plane, then look at it:", style="bold")
    err.print(f"  headrace control --config {folder / 'control.toml'}", soft_wrap=True)
    options = (
        f"--control https://{_in_url(hosts[0])}:8400 --ca {folder / 'ca.pem'} --token-file {folder / 'admin.token'}"
    )
    err.print(f"  headrace status {options}", soft_wrap=True)


def _files(hosts: tuple[str, ...]) -> dict[str, tuple[bytes, int]]:
    from headrace.control.adapters.certificates import make_ca, make_server_certificate
    from headrace.control.secret_text import SecretKind, new_secret

    now_s = SystemClock().now_s()
    ca = make_ca("Headrace private CA", now_s=now_s)
    server = make_server_certificate(ca, hosts, now_s=now_s)
    tokens = [f"{new_secret(SecretKind.OPERATOR).text}\n".encode() for _ in range(2)]
    url = f"https://{_in_url(hosts[0])}:8400"
    return {
        "ca.pem": (ca.certificate, PUBLIC),
        "ca.key": (ca.key, SECRET),
        "control.pem": (server.certificate, PUBLIC),
        "control.key": (server.key, SECRET),
        "admin.token": (tokens[0], SECRET),
        "steering.token": (tokens[1], SECRET),
        "control.toml": (_CONTROL.encode(), PUBLIC),
        "agent.toml": (_AGENT.format(url=json.dumps(url)).encode(), PUBLIC),
        "steer.toml": (_STEER.format(url=json.dumps(url)).encode(), PUBLIC),
    }


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


_CONTROL = """\
# Settings of a control node. Paths are relative to this file; see docs/control.md.

[listen]
host = "::"
port = 8400
tls_certificate = "control.pem"
tls_key = "control.key"

[store]
# For several control nodes: postgresql+psycopg://USER:PASSWORD@HOST/DATABASE
url = "sqlite:///headrace.db"

[urls]
# Where `headrace publish` puts files, as players and appliances reach it.
origin = ""
# Steering nodes, as players reach them.
steering = []
"""

_AGENT = """\
# Settings of one appliance: copy this file, ca.pem and a join token (`headrace appliance token`) to it.

[appliance]
id = ""           # for example "ams1-1"; also the pathway id that players see
content_url = ""  # for example "http://192.0.2.10"
state = "/var/lib/headrace"

[control]
urls = [{url}]
ca_file = "/etc/headrace/ca.pem"
join_token_file = "/etc/headrace/join.token"

[store]
folders = []      # one folder for each disk
"""

_STEER = """\
# Settings of a steering node: copy this file, ca.pem and steering.token to it.

[listen]
host = "::"
port = 8500

[control]
urls = [{url}]
ca_file = "/etc/headrace/ca.pem"
token_file = "/etc/headrace/steering.token"

[snapshot]
folder = "/var/lib/headrace"
"""
