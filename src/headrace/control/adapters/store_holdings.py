"""Bitmaps in the database: what appliances hold, and the last versions of what they should hold."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, RowMapping, delete, select, update

from headrace.base.ids import ApplianceId
from headrace.catalog.fileset import FileSet
from headrace.control.adapters.database import Database, bump, changed_rows, finish
from headrace.control.adapters.tables import holdings, plan_heads, plans
from headrace.control.model import NewEvent, SetHead, StoredSet
from headrace.control.ports import PLANS_KEPT


class SqlHoldings:
    """HoldingsStore on a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def holdings_digests(self) -> Mapping[ApplianceId, str]:
        with self._database.reading() as connection:
            rows = connection.execute(select(holdings.c.appliance_id, holdings.c.digest)).all()
        return {ApplianceId(row.appliance_id): row.digest for row in rows}

    def holdings(self, appliance_id: ApplianceId) -> StoredSet | None:
        query = select(holdings).where(holdings.c.appliance_id == appliance_id)
        with self._database.reading() as connection:
            row = connection.execute(query).mappings().first()
        return None if row is None else _stored_set(row)

    def save_holdings(self, appliance_id: ApplianceId, new: StoredSet, *, expected_digest: str) -> bool:
        mine = (holdings.c.appliance_id == appliance_id) & (holdings.c.digest == expected_digest)
        statement = update(holdings).where(mine).values(**_columns(new), version=holdings.c.version + 1)
        with self._database.writing() as connection:
            if not changed_rows(connection, statement):
                return False
            finish(connection, "holdings", None, 0.0)
        return True

    def plan(self, appliance_id: ApplianceId, version: int | None = None) -> StoredSet | None:
        query = select(plans).where(plans.c.appliance_id == appliance_id).order_by(plans.c.version.desc()).limit(1)
        if version is not None:
            query = query.where(plans.c.version == version)
        with self._database.reading() as connection:
            row = connection.execute(query).mappings().first()
        return None if row is None else _stored_set(row)

    def save_plan(
        self, appliance_id: ApplianceId, new: StoredSet, *, expected_version: int, event: NewEvent | None, now_s: float
    ) -> int | None:
        with self._database.writing() as connection:
            if not _write_plan(connection, appliance_id, new, expected_version, now_s):
                return None
            finish(connection, "plans", event, now_s)
        return expected_version + 1

    def save_plan_all(
        self, new: Mapping[ApplianceId, StoredSet], *, expected_versions: Mapping[ApplianceId, int], now_s: float
    ) -> frozenset[ApplianceId]:
        with self._database.writing() as connection:
            saved = frozenset(
                name for name, one in new.items() if _write_plan(connection, name, one, expected_versions[name], now_s)
            )
            if saved:
                bump(connection, "plans")
        return saved


def _write_plan(
    connection: Connection, appliance_id: ApplianceId, new: StoredSet, expected_version: int, now_s: float
) -> bool:
    version = expected_version + 1
    columns = _columns(new)
    head = {name: value for name, value in columns.items() if name != "packed"}
    mine = (plan_heads.c.appliance_id == appliance_id) & (plan_heads.c.version == expected_version)
    too_old = (plans.c.appliance_id == appliance_id) & (plans.c.version <= version - PLANS_KEPT)
    if not changed_rows(connection, update(plan_heads).where(mine).values(**head, version=version)):
        return False
    row = {"appliance_id": appliance_id, "version": version, "created_at_s": now_s, **columns}
    connection.execute(plans.insert().values(**row))
    connection.execute(delete(plans).where(too_old))
    return True


def _columns(new: StoredSet) -> dict[str, Any]:
    return {
        "digest": new.head.digest,
        "count": new.head.count,
        "total_bytes": new.head.total_bytes,
        "packed": new.files.to_bytes(),
    }


def _stored_set(row: RowMapping) -> StoredSet:
    head = SetHead(version=row["version"], digest=row["digest"], count=row["count"], total_bytes=row["total_bytes"])
    return StoredSet(head=head, files=FileSet.from_bytes(bytes(row["packed"])))
