"""Takes over the tokens that `headrace init` put into files, so that somebody can speak to a new control plane."""

import logging
from pathlib import Path

from headrace.base.logs import event
from headrace.control.errors import ControlError
from headrace.control.model import NewEvent, TokenKind, TokenRow
from headrace.control.ports import Store
from headrace.control.secret_text import Secret, SecretKind, read_secret
from headrace.wire.operator import Role

_log = logging.getLogger(__name__)


def take_tokens(store: Store, admin_file: Path | None, read_file: Path | None, *, now_s: float) -> None:
    """Add the first admin's token while there is none, and the reading token once.

    Raises:
        ControlError: a file is there but holds no token.
        StoreError: the store cannot be asked.
    """
    for file, role, is_first in ((admin_file, Role.ADMIN, True), (read_file, Role.READ, False)):
        secret = read_token_file(file) if file is not None else None
        if secret is None:
            continue
        row = TokenRow(
            token_id=secret.secret_id,
            kind=TokenKind.OPERATOR,
            name="first-admin" if is_first else "steering",
            role=role,
            secret_sha256=secret.sha256,
            created_at_s=now_s,
            rotated_at_s=now_s,
        )
        created = NewEvent(
            actor="control:start",
            kind="token.created",
            subject=f"token/{secret.secret_id}",
            reason="named-in-configuration",
            detail=f"{row.name}, role {role}",
        )
        if store.add_token(row, event=created, now_s=now_s, only_first_admin=is_first):
            event(_log, "token_taken_over", token=secret.secret_id, role=role, file=file)


def read_token_file(file: Path) -> Secret | None:
    """The operator's token in a file; None when there is no such file.

    Raises:
        ControlError: the file cannot be read or holds no token.
    """
    try:
        text = file.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ControlError(f"cannot read the token file {file}: {error}") from None
    secret = read_secret(text)
    if secret is None or secret.kind is not SecretKind.OPERATOR:
        raise ControlError(f"the token file {file} holds no operator's token (hro_...)")
    return secret
