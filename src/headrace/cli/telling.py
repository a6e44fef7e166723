"""Telling the control plane what was worked out on the side: what it refuses is said, and nothing fails by it."""

from http import HTTPStatus

from headrace.cli.console import CaFile, ControlUrl, TokenFile, ask_control, err
from headrace.wire.client import ControlClient
from headrace.wire.errors import RefusedError, UnreachableError


def tell_control(
    path: str,
    body: object,
    answer: type,
    *,
    what: str,
    otherwise: str,
    control: ControlUrl,
    token_file: TokenFile,
    ca: CaFile,
) -> bool:
    """PUT a summary, and say whether it was taken; on standard error, why not.

    Args:
        what: names the summary, as in "offload".
        otherwise: how to go on without telling, as in "count with --no-tell".
    """

    async def ask(client: ControlClient) -> None:
        await client.call("PUT", path, body=body, answer=answer)

    try:
        ask_control(ask, control=control, token_file=token_file, ca=ca)
    except UnreachableError as error:
        err.print(f"{error}; {what} is told the next time")
    except RefusedError as error:
        mend = {
            HTTPStatus.FORBIDDEN: f"use a token of the role operate, or {otherwise}",
            HTTPStatus.NOT_FOUND: f"a control plane of before knows no {what}; upgrade it, or {otherwise}",
        }.get(HTTPStatus(error.status), "see its log")
        err.print(f"the control plane did not take {what}: {error}; {mend}")
    else:
        return True
    return False
