"""`headrace token`: operators' tokens and what they may do."""

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.table import Table

from headrace.cli.console import AsJson, CaFile, ControlUrl, TokenFile, ask_control, err, out
from headrace.wire.codec import encode
from headrace.wire.operator import Role, TokenRequest, TokenSecret, TokenView


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(help="Operators' tokens: create, list, revoke.", no_args_is_help=True)
    group.command("create")(_create)
    group.command("list")(_list)
    group.command("revoke")(_revoke)
    app.add_typer(group, name="token")


def _create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who or what uses it.")],
    role: Annotated[
        Role, typer.Option(help="What it may do; each role may do what the ones before it may.")
    ] = Role.READ,
    control: ControlUrl = None,
    token_file: TokenFile = None,
    ca: CaFile = None,
    as_json: AsJson = False,
) -> None:
    """Make a token. It is printed this once and stored as a hash.

    Example: [bold]headrace token create dashboard --role read > dashboard.token[/]
    """
    wanted = TokenRequest(name=name, role=role)
    made = ask_control(
        lambda client: client.call("POST", "/v1/tokens", body=wanted, answer=TokenSecret),
        control=control,
        token_file=token_file,
        ca=ca,
    )
    typer.echo(encode(made).decode() if as_json else made.token)


def _list(control: ControlUrl = None, token_file: TokenFile = None, ca: CaFile = None, as_json: AsJson = False) -> None:
    """List tokens, without their secrets.

    Example: [bold]headrace token list[/]
    """
    shape = tuple[TokenView, ...]
    views: tuple[TokenView, ...] = ask_control(
        lambda client: client.call("GET", "/v1/tokens", answer=shape), control=control, token_file=token_file, ca=ca
    )
    if as_json:
        typer.echo(encode(views, shape).decode())
        return
    table = Table("id", "name", "role", "made", "last used")
    for view in views:
        table.add_row(view.token_id, view.name, view.role, _day(view.created_at_s), _day(view.last_used_at_s))
    out.print(table)


def _revoke(
    token_id: Annotated[str, typer.Argument(metavar="ID", help="Id as `headrace token list` shows it.")],
    control: ControlUrl = None,
    token_file: TokenFile = None,
    ca: CaFile = None,
) -> None:
    """End a token at once.

    Example: [bold]headrace token revoke 3f9c[/]
    """
    ask_control(
        lambda client: client.raw("DELETE", f"/v1/tokens/{token_id}"), control=control, token_file=token_file, ca=ca
    )
    err.print(f"token {token_id} is revoked")


def _day(at_s: float | None) -> str:
    return "never" if at_s is None else datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M UTC")
