"""Sites and appliances in the database: settings, reports, conclusions."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, bindparam, delete, func, select, update

from headrace.base.ids import ApplianceId, SiteId
from headrace.control.adapters.database import (
    Database,
    bump,
    changed_rows,
    finish,
    insert_if_absent,
    put_row,
    write_events,
)
from headrace.control.adapters.tables import appliances, counters, health, holdings, plan_heads, reports, sites, tokens
from headrace.control.model import EMPTY_DIGEST, FleetRow, HealthChange, NewEvent, Removal, SetHead, StoredReport
from headrace.fleet.model import AdminState, Appliance, ApplianceReport, Health, Site
from headrace.wire.agent import DesiredState
from headrace.wire.codec import decode, encode

_read_desired = lru_cache(maxsize=32_768)(lambda body: decode(DesiredState, body))
_read_health = lru_cache(maxsize=32_768)(lambda body: decode(Health, body))
_read_report = lru_cache(maxsize=32_768)(lambda body: decode(ApplianceReport, body))
"""The loops read the whole fleet each second, and most of it has not changed."""


class SqlFleet:
    """FleetStore on a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def sites(self) -> tuple[Site, ...]:
        with self._database.reading() as connection:
            bodies = connection.execute(select(sites.c.body).order_by(sites.c.site_id)).scalars().all()
        return tuple(decode(Site, body) for body in bodies)

    def put_site(self, site: Site, *, event: NewEvent, now_s: float) -> bool:
        values = {"site_id": site.site_id, "body": encode(site).decode()}
        with self._database.writing() as connection:
            is_new = insert_if_absent(connection, sites, values)
            if not is_new:
                put_row(connection, sites, values)
            finish(connection, "fleet", event, now_s)
        return is_new

    def remove_site(self, site_id: SiteId, *, event: NewEvent, now_s: float) -> Removal:
        with self._database.writing() as connection:
            found = connection.execute(select(sites.c.site_id).where(sites.c.site_id == site_id).with_for_update())
            if found.first() is None:
                return Removal.MISSING
            inside = select(func.count()).select_from(appliances).where(appliances.c.site_id == site_id)
            if connection.execute(inside).scalar_one():
                return Removal.IN_USE
            connection.execute(delete(sites).where(sites.c.site_id == site_id))
            finish(connection, "fleet", event, now_s)
        return Removal.DONE

    def fleet(self) -> tuple[FleetRow, ...]:
        with self._database.reading() as connection:
            rows = connection.execute(_fleet_query().order_by(appliances.c.appliance_id)).mappings().all()
        return tuple(_fleet_row(row) for row in rows)

    def appliance(self, appliance_id: ApplianceId) -> FleetRow | None:
        with self._database.reading() as connection:
            row = connection.execute(_ONE_APPLIANCE, {"one": appliance_id}).mappings().first()
        return None if row is None else _fleet_row(row)

    def change_appliance(
        self, appliance: Appliance, *, expected_version: int, event: NewEvent, now_s: float
    ) -> int | None:
        mine = (appliances.c.appliance_id == appliance.appliance_id) & (appliances.c.version == expected_version)
        statement = update(appliances).where(mine).values(**settings_of(appliance), version=expected_version + 1)
        with self._database.writing() as connection:
            if not has_site(connection, appliance.site_id) or not changed_rows(connection, statement):
                return None
            finish(connection, "fleet", event, now_s)
        return expected_version + 1

    def remove_appliance(self, appliance_id: ApplianceId, *, event: NewEvent, now_s: float) -> bool:
        with self._database.writing() as connection:
            if not changed_rows(connection, delete(appliances).where(appliances.c.appliance_id == appliance_id)):
                return False
            mine = (tokens.c.appliance_id == appliance_id) & tokens.c.revoked_at_s.is_(None)
            connection.execute(update(tokens).where(mine).values(revoked_at_s=now_s))
            for topic in ("fleet", "holdings", "plans"):
                bump(connection, topic)
            finish(connection, None, event, now_s)
        return True

    def save_desired(self, appliance_id: ApplianceId, desired: DesiredState, *, expected_version: int) -> bool:
        with self._database.writing() as connection:
            return _write_desired(connection, appliance_id, desired, expected_version)

    def save_desired_all(self, new: Mapping[ApplianceId, DesiredState]) -> frozenset[ApplianceId]:
        with self._database.writing() as connection:
            return frozenset(
                name for name, desired in new.items() if _write_desired(connection, name, desired, desired.version - 1)
            )

    def save_report(
        self, appliance_id: ApplianceId, new: StoredReport, *, expected_boot_id: str, expected_sequence: int
    ) -> bool:
        values = {
            "boot_id": new.boot_id,
            "sequence": new.sequence,
            "past_boots": " ".join(new.past_boots),
            "received_at_s": new.received_at_s,
            "heard_at_s": new.heard_at_s,
            "body": encode(new.report).decode(),
        }
        mine = {"one": appliance_id, "old_boot_id": expected_boot_id, "old_sequence": expected_sequence}
        with self._database.writing(is_durable=False) as connection:
            return changed_rows(connection, _NEXT_REPORT, values | mine) == 1

    def note_message(self, appliance_id: ApplianceId, *, now_s: float) -> None:
        statement = update(reports).where(reports.c.appliance_id == appliance_id).values(heard_at_s=now_s)
        with self._database.writing(is_durable=False) as connection:
            connection.execute(statement)

    def save_health(
        self,
        appliance_id: ApplianceId,
        new: Health,
        *,
        expected_version: int,
        memory: str = "",
        event: NewEvent | None = None,
        now_s: float,
    ) -> bool:
        change = HealthChange(
            appliance_id=appliance_id, health=new, expected_version=expected_version, memory=memory, event=event
        )
        return bool(self.save_health_all([change], now_s=now_s))

    def save_health_all(self, changes: Sequence[HealthChange], *, now_s: float) -> frozenset[ApplianceId]:
        names = [one.appliance_id for one in changes]
        versions = select(health.c.appliance_id, health.c.version).where(health.c.appliance_id.in_(names))
        with self._database.writing() as connection:
            now = {row.appliance_id: row.version for row in connection.execute(versions.with_for_update())}
            won = [one for one in changes if now.get(one.appliance_id) == one.expected_version]
            if not won:
                return frozenset()
            rows = [
                {
                    "changed_id": one.appliance_id,
                    "version": one.expected_version + 1,
                    "body": encode(one.health).decode(),
                    "memory": one.memory,
                }
                for one in won
            ]
            connection.execute(update(health).where(health.c.appliance_id == bindparam("changed_id")), rows)
            bump(connection, "fleet")
            events = [one.event for one in won if one.event is not None]
            if events:
                write_events(connection, events, now_s)
        return frozenset(one.appliance_id for one in won)

    def is_health_held(self) -> bool:
        query = select(counters.c.value).where(counters.c.name == "health_held")
        with self._database.reading() as connection:
            return bool(connection.execute(query).scalar_one())

    def set_health_held(self, is_held: bool, *, event: NewEvent, now_s: float) -> bool:
        other = (counters.c.name == "health_held") & (counters.c.value == int(not is_held))
        with self._database.writing() as connection:
            if not changed_rows(connection, update(counters).where(other).values(value=int(is_held))):
                return False
            finish(connection, "fleet", event, now_s)
        return True


def _write_desired(
    connection: Connection, appliance_id: ApplianceId, desired: DesiredState, expected_version: int
) -> bool:
    mine = (appliances.c.appliance_id == appliance_id) & (appliances.c.desired_version == expected_version)
    values = {"desired": encode(desired).decode(), "desired_version": desired.version}
    return changed_rows(connection, update(appliances).where(mine).values(**values)) == 1


def settings_of(appliance: Appliance) -> dict[str, Any]:
    """The operator's settings as columns."""
    return {
        "site_id": appliance.site_id,
        "content_url": appliance.content_url,
        "admin_state": appliance.admin_state.value,
        "capacity_bps": appliance.capacity_bps,
    }


def has_site(connection: Connection, site_id: SiteId) -> bool:
    """Whether a site is there; it stays until this transaction ends."""
    query = select(sites.c.site_id).where(sites.c.site_id == site_id).with_for_update(read=True)
    return connection.execute(query).first() is not None


def insert_appliance(connection: Connection, appliance: Appliance, now_s: float) -> bool:
    """A new appliance with its empty companions; False when the id is taken."""
    values = settings_of(appliance) | {"version": 1, "enrolled_at_s": now_s, "desired_version": 0}
    if not insert_if_absent(connection, appliances, {"appliance_id": appliance.appliance_id, **values}):
        return False
    key = {"appliance_id": appliance.appliance_id}
    empty = {"version": 0, "digest": EMPTY_DIGEST, "count": 0, "total_bytes": 0}
    report = {"boot_id": "", "sequence": 0, "past_boots": "", "body": encode(ApplianceReport()).decode()}
    connection.execute(reports.insert().values(**key, **report))
    connection.execute(health.insert().values(**key, version=0, body=encode(Health()).decode(), memory=""))
    connection.execute(holdings.insert().values(**key, **empty, packed=b""))
    connection.execute(plan_heads.insert().values(**key, **empty))
    return True


def _fleet_query() -> Select[Any]:
    own = appliances.c.appliance_id
    source = appliances
    joined = (
        source.join(reports, reports.c.appliance_id == own)
        .join(health, health.c.appliance_id == own)
        .join(holdings, holdings.c.appliance_id == own)
        .join(plan_heads, plan_heads.c.appliance_id == own)
    )
    columns = [
        *appliances.c,
        *(reports.c[name] for name in ("boot_id", "sequence", "past_boots", "received_at_s", "heard_at_s")),
        reports.c.body.label("report"),
        health.c.body.label("health"),
        health.c.version.label("health_version"),
        health.c.memory,
    ]
    for table, prefix in ((holdings, "holdings"), (plan_heads, "plan")):
        columns += [table.c[name].label(f"{prefix}_{name}") for name in ("version", "digest", "count", "total_bytes")]
    return select(*columns).select_from(joined)


def _fleet_row(row: RowMapping) -> FleetRow:
    return FleetRow(
        appliance=Appliance(
            appliance_id=row["appliance_id"],
            site_id=row["site_id"],
            content_url=row["content_url"],
            admin_state=AdminState(row["admin_state"]),
            capacity_bps=row["capacity_bps"],
        ),
        version=row["version"],
        enrolled_at_s=row["enrolled_at_s"],
        desired=None if row["desired"] is None else _read_desired(row["desired"]),
        health=_read_health(row["health"]),
        health_version=row["health_version"],
        health_memory=row["memory"],
        report=StoredReport(
            boot_id=row["boot_id"],
            sequence=row["sequence"],
            past_boots=tuple(row["past_boots"].split()),
            received_at_s=row["received_at_s"],
            heard_at_s=row["heard_at_s"],
            report=_read_report(row["report"]),
        ),
        holdings=_head(row, "holdings"),
        plan=_head(row, "plan"),
    )


def _head(row: RowMapping, prefix: str) -> SetHead:
    return SetHead(
        version=row[f"{prefix}_version"],
        digest=row[f"{prefix}_digest"],
        count=row[f"{prefix}_count"],
        total_bytes=row[f"{prefix}_total_bytes"],
    )


# Each exchange of each appliance runs these two: they are put together once.
_ONE_APPLIANCE = _fleet_query().where(appliances.c.appliance_id == bindparam("one"))
_NEXT_REPORT = (
    update(reports)
    .where(
        reports.c.appliance_id == bindparam("one"),
        reports.c.boot_id == bindparam("old_boot_id"),
        reports.c.sequence == bindparam("old_sequence"),
    )
    .values(
        {name: bindparam(name) for name in ("boot_id", "sequence", "past_boots", "received_at_s", "heard_at_s", "body")}
    )
)
