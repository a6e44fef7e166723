"""Secrets in the database, as SHA-256: operators' tokens, sessions, appliances' credentials, join tokens."""

from typing import Any

from sqlalchemy import Connection, RowMapping, bindparam, select, update

from headrace.base.ids import ApplianceId
from headrace.control.adapters.database import Database, bump, changed_rows, finish, insert_if_absent
from headrace.control.adapters.store_fleet import has_site, insert_appliance, settings_of
from headrace.control.adapters.tables import appliances, join_tokens, tokens
from headrace.control.model import Enrolment, JoinRow, NewEvent, TokenKind, TokenRow
from headrace.fleet.model import Appliance
from headrace.wire.operator import Role

_ONE_TOKEN = select(tokens).where(tokens.c.token_id == bindparam("one"))
"""Each request runs this: it is put together once."""


class SqlTokens:
    """TokenStore on a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def tokens(self) -> tuple[TokenRow, ...]:
        in_force = (tokens.c.kind == TokenKind.OPERATOR.value) & tokens.c.revoked_at_s.is_(None)
        query = select(tokens).where(in_force).order_by(tokens.c.created_at_s, tokens.c.token_id)
        with self._database.reading() as connection:
            return tuple(_token_row(row) for row in connection.execute(query).mappings())

    def token(self, token_id: str) -> TokenRow | None:
        with self._database.reading() as connection:
            row = connection.execute(_ONE_TOKEN, {"one": token_id}).mappings().first()
        return None if row is None else _token_row(row)

    def appliance_token(self, appliance_id: ApplianceId) -> TokenRow | None:
        mine = (tokens.c.appliance_id == appliance_id) & tokens.c.revoked_at_s.is_(None)
        with self._database.reading() as connection:
            row = connection.execute(select(tokens).where(mine)).mappings().first()
        return None if row is None else _token_row(row)

    def add_token(
        self, token: TokenRow, *, event: NewEvent | None, now_s: float, only_first_admin: bool = False
    ) -> bool:
        with self._database.writing() as connection:
            if only_first_admin:
                bump(connection, "event", 0)  # takes the lock: two nodes that start at once add one admin
                if connection.execute(_admins_in_force()).first() is not None:
                    return False
            if token.parent_id is not None and not _hold_in_force(connection, token.parent_id):
                return False
            if not insert_if_absent(connection, tokens, _token_columns(token)):
                return False
            finish(connection, None, event, now_s)
        return True

    def touch_token(self, token_id: str, *, now_s: float) -> None:
        statement = update(tokens).where(tokens.c.token_id == token_id).values(last_used_at_s=now_s)
        with self._database.writing(is_durable=False) as connection:
            connection.execute(statement)

    def start_rotation(self, token_id: str, *, next_sha256: str) -> bool:
        mine = (tokens.c.token_id == token_id) & tokens.c.revoked_at_s.is_(None)
        with self._database.writing() as connection:
            return changed_rows(connection, update(tokens).where(mine).values(next_sha256=next_sha256)) == 1

    def end_rotation(self, token_id: str, *, used_sha256: str, event: NewEvent, now_s: float) -> bool:
        mine = (tokens.c.token_id == token_id) & (tokens.c.next_sha256 == used_sha256) & tokens.c.revoked_at_s.is_(None)
        values = {"secret_sha256": used_sha256, "next_sha256": None, "rotated_at_s": now_s, "last_used_at_s": now_s}
        with self._database.writing() as connection:
            if not changed_rows(connection, update(tokens).where(mine).values(**values)):
                return False
            finish(connection, None, event, now_s)
        return True

    def revoke_token(
        self, token_id: str, *, event: NewEvent | None, now_s: float, keeps_last_admin: bool = False
    ) -> bool:
        mine = (tokens.c.token_id == token_id) & tokens.c.revoked_at_s.is_(None)
        opened_with_it = (tokens.c.parent_id == token_id) & tokens.c.revoked_at_s.is_(None)
        with self._database.writing() as connection:
            if keeps_last_admin:
                bump(connection, "event", 0)  # takes the lock: two admins may end each other at the same moment
                if connection.execute(_admins_in_force()).scalars().all() == [token_id]:
                    return False
            if not changed_rows(connection, update(tokens).where(mine).values(revoked_at_s=now_s)):
                return False
            connection.execute(update(tokens).where(opened_with_it).values(revoked_at_s=now_s))
            finish(connection, None, event, now_s)
        return True

    def add_join_token(self, join: JoinRow, *, event: NewEvent, now_s: float) -> bool:
        values = {
            "join_id": join.join_id,
            "secret_sha256": join.secret_sha256,
            "site_id": join.site_id,
            "appliance_id": join.appliance_id,
            "expires_at_s": join.expires_at_s,
        }
        with self._database.writing() as connection:
            if not has_site(connection, join.site_id):
                return False
            connection.execute(join_tokens.insert().values(**values))
            finish(connection, None, event, now_s)
        return True

    def join_token(self, join_id: str) -> JoinRow | None:
        with self._database.reading() as connection:
            row = connection.execute(select(join_tokens).where(join_tokens.c.join_id == join_id)).mappings().first()
        if row is None:
            return None
        names = ("join_id", "secret_sha256", "site_id", "appliance_id", "expires_at_s", "used_by")
        return JoinRow(**{name: row[name] for name in names})

    def enrol(
        self, join_id: str, appliance: Appliance, credential: TokenRow, *, event: NewEvent, now_s: float
    ) -> Enrolment:
        with self._database.writing() as connection:
            query = select(join_tokens).where(join_tokens.c.join_id == join_id).with_for_update()
            row = connection.execute(query).mappings().first()
            refusal = _why_not(connection, row, appliance, now_s)
            if row is None or refusal is not None:
                return refusal or Enrolment.TOKEN_SPENT
            is_renewal = appliance.appliance_id in (row["appliance_id"], row["used_by"])
            if not insert_appliance(connection, appliance, now_s):
                if not is_renewal:
                    return Enrolment.ALREADY_ENROLLED
                _renew(connection, appliance)
            old = (tokens.c.appliance_id == appliance.appliance_id) & tokens.c.revoked_at_s.is_(None)
            connection.execute(update(tokens).where(old).values(revoked_at_s=now_s))
            connection.execute(tokens.insert().values(**_token_columns(credential)))
            spent = {"used_by": appliance.appliance_id, "used_at_s": now_s}
            connection.execute(update(join_tokens).where(join_tokens.c.join_id == join_id).values(**spent))
            finish(connection, "fleet", event, now_s)
        return Enrolment.DONE


def _why_not(connection: Connection, row: RowMapping | None, appliance: Appliance, now_s: float) -> Enrolment | None:
    if row is None:
        return Enrolment.TOKEN_SPENT
    if row["expires_at_s"] <= now_s:
        return Enrolment.TOKEN_EXPIRED
    if row["appliance_id"] not in (None, appliance.appliance_id):
        return Enrolment.TOKEN_SPENT
    if row["used_by"] is not None:
        mine = (tokens.c.appliance_id == appliance.appliance_id) & tokens.c.revoked_at_s.is_(None)
        given = connection.execute(select(tokens.c.last_used_at_s, tokens.c.created_at_s).where(mine)).first()
        is_unused = given is not None and given.last_used_at_s is None and given.created_at_s == row["used_at_s"]
        if row["used_by"] != appliance.appliance_id or not is_unused:
            return Enrolment.TOKEN_SPENT
    return None if has_site(connection, appliance.site_id) else Enrolment.NO_SUCH_SITE


def _renew(connection: Connection, appliance: Appliance) -> None:
    """A known appliance enrols again: its address, rate and site are new, what operators want of it stays."""
    values = {name: value for name, value in settings_of(appliance).items() if name != "admin_state"}
    mine = appliances.c.appliance_id == appliance.appliance_id
    connection.execute(update(appliances).where(mine).values(**values, version=appliances.c.version + 1))


def _hold_in_force(connection: Connection, token_id: str) -> bool:
    """Whether a token is in force, which it stays until the transaction ends."""
    mine = (tokens.c.token_id == token_id) & tokens.c.revoked_at_s.is_(None)
    return connection.execute(select(tokens.c.token_id).where(mine).with_for_update()).first() is not None


def _admins_in_force() -> Any:
    return select(tokens.c.token_id).where(
        tokens.c.kind == TokenKind.OPERATOR.value, tokens.c.role == Role.ADMIN.value, tokens.c.revoked_at_s.is_(None)
    )


def _token_columns(token: TokenRow) -> dict[str, Any]:
    return {
        "token_id": token.token_id,
        "kind": token.kind.value,
        "name": token.name,
        "role": None if token.role is None else token.role.value,
        "appliance_id": token.appliance_id,
        "parent_id": token.parent_id,
        "secret_sha256": token.secret_sha256,
        "next_sha256": token.next_sha256,
        "created_at_s": token.created_at_s,
        "rotated_at_s": token.rotated_at_s,
        "last_used_at_s": token.last_used_at_s,
        "expires_at_s": token.expires_at_s,
        "revoked_at_s": None,
    }


def _token_row(row: RowMapping) -> TokenRow:
    return TokenRow(
        token_id=row["token_id"],
        kind=TokenKind(row["kind"]),
        name=row["name"],
        role=None if row["role"] is None else Role(row["role"]),
        appliance_id=row["appliance_id"],
        parent_id=row["parent_id"],
        secret_sha256=row["secret_sha256"],
        next_sha256=row["next_sha256"],
        created_at_s=row["created_at_s"],
        rotated_at_s=row["rotated_at_s"],
        last_used_at_s=row["last_used_at_s"],
        expires_at_s=row["expires_at_s"],
        is_revoked=row["revoked_at_s"] is not None,
    )
