"""The store as the control plane sees it: one interface, split by question, one adapter (adapters/store.py).

Calls block: loops and the API run them in threads (`asyncio.to_thread`, FastAPI's thread pool). Every call is one
transaction. Where a call names an expected version, digest or holder it is a compare-and-set: *lost the race* is a
result (False, None or an enum member), *could not ask* is a StoreError and then nothing was changed (unless the
connection broke in the middle of a commit: then nobody knows, and asking again tells). An event given with a change is
committed with it or not at all.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from headrace.base.ids import ApplianceId, FileNo, SiteId, TitleId
from headrace.catalog.fileset import FileSet
from headrace.catalog.model import CatalogFile, Title
from headrace.control.model import (
    CatalogTotals,
    Enrolment,
    FleetRow,
    HealthChange,
    JoinRow,
    Lease,
    NewEvent,
    Removal,
    StoredReport,
    StoredSet,
    StoredSnapshot,
    StoredTitle,
    StoredWindow,
    TitleConflict,
    TokenRow,
    Versions,
)
from headrace.control.routes import PastTable, StoredSpeaker, Swept, Taken
from headrace.fill.orders import FillOrder
from headrace.fleet.maintenance import MaintenanceWindow
from headrace.fleet.model import Appliance, Health, Site
from headrace.routes.effective import ChunkPlace
from headrace.wire.agent import DesiredState
from headrace.wire.operator import EventView


class FleetStore(Protocol):
    """Sites and appliances: what is wanted, reported, concluded."""

    def sites(self) -> tuple[Site, ...]:
        """All sites in order of id."""
        ...

    def put_site(self, site: Site, *, event: NewEvent, now_s: float) -> bool:
        """Create or replace a site; the last writer wins. True when it is new."""
        ...

    def remove_site(self, site_id: SiteId, *, event: NewEvent, now_s: float) -> Removal:
        """Remove a site that has no appliances."""
        ...

    def fleet(self) -> tuple[FleetRow, ...]:
        """All appliances in order of id, without bitmaps."""
        ...

    def appliance(self, appliance_id: ApplianceId) -> FleetRow | None: ...

    def change_appliance(
        self, appliance: Appliance, *, expected_version: int, event: NewEvent, now_s: float
    ) -> int | None:
        """Compare-and-set the operator's settings. The new version; None when it lost the race or is gone."""
        ...

    def remove_appliance(self, appliance_id: ApplianceId, *, event: NewEvent, now_s: float) -> bool:
        """Forget an appliance and revoke its credential. False when there is none."""
        ...

    def save_desired(self, appliance_id: ApplianceId, desired: DesiredState, *, expected_version: int) -> bool:
        """Compare-and-set what is given out to an appliance (0: nothing yet)."""
        ...

    def save_desired_all(self, new: Mapping[ApplianceId, DesiredState]) -> frozenset[ApplianceId]:
        """Many in one transaction, each a compare-and-set against the version before its own; those written."""
        ...

    def save_report(
        self, appliance_id: ApplianceId, new: StoredReport, *, expected_boot_id: str, expected_sequence: int
    ) -> bool:
        """Compare-and-set the latest report. A power cut may lose the last ones; agents send again."""
        ...

    def note_message(self, appliance_id: ApplianceId, *, now_s: float) -> None:
        """Something came from an appliance that was not newer than its latest report."""
        ...

    def save_health(
        self,
        appliance_id: ApplianceId,
        health: Health,
        *,
        expected_version: int,
        memory: str = "",
        event: NewEvent | None = None,
        now_s: float,
    ) -> bool:
        """Compare-and-set a conclusion (`expected_version` is `FleetRow.health_version`)."""
        ...

    def save_health_all(self, changes: Sequence[HealthChange], *, now_s: float) -> frozenset[ApplianceId]:
        """Many conclusions in one transaction, each a compare-and-set of its own; the appliances that were written."""
        ...

    def is_health_held(self) -> bool:
        """Whether conclusions are frozen because most of the fleet seemed lost at once."""
        ...

    def set_health_held(self, is_held: bool, *, event: NewEvent, now_s: float) -> bool:
        """Compare-and-set against the opposite; False (and no event) when it was so already."""
        ...


class MaintenanceStore(Protocol):
    """Maintenance windows."""

    def windows(self, *, with_ended: bool = False) -> tuple[StoredWindow, ...]:
        """Those that have not ended, in the order in which they were planned; or all that are kept."""
        ...

    def windows_version(self) -> int:
        """Grows with each change of a window: read it before `windows`, and give it to `add_window`."""
        ...

    def add_window(
        self, window: MaintenanceWindow, *, expected: int, event: NewEvent, now_s: float
    ) -> StoredWindow | None:
        """Store a new window under the next id, which its event is about; None when a window changed since `expected`
        was read: what was checked against the others may no longer be so."""
        ...

    def save_window(
        self, window: MaintenanceWindow, *, expected_version: int, event: NewEvent | None, now_s: float
    ) -> bool:
        """Compare-and-set a window."""
        ...

    def drop_windows(self, *, ended_before_s: float) -> int:
        """Forget windows that have ended and whose time was over before that; how many went."""
        ...


class FillStore(Protocol):
    """What operators ask of fills."""

    def fill_orders(self, *, with_ended: bool = False) -> tuple[FillOrder, ...]:
        """Those that have not ended, in the order in which they were given; or all that are kept."""
        ...

    def add_fill_order(self, order: FillOrder, *, event: NewEvent, now_s: float) -> FillOrder:
        """Store a new order under the next id."""
        ...

    def end_fill_order(self, order: FillOrder, *, event: NewEvent, now_s: float) -> bool:
        """Write an order that has ended; False when it had ended before."""
        ...

    def drop_fill_orders(self, *, keep: int) -> int:
        """Forget ended orders but for those among the newest `keep` orders; how many went."""
        ...


class HoldingsStore(Protocol):
    """Bitmaps: what appliances hold and what they should hold."""

    def holdings_digests(self) -> Mapping[ApplianceId, str]:
        """The digest of each appliance's holdings; read the set only where it changed."""
        ...

    def holdings(self, appliance_id: ApplianceId) -> StoredSet | None:
        """None: no such appliance."""
        ...

    def save_holdings(self, appliance_id: ApplianceId, new: StoredSet, *, expected_digest: str) -> bool:
        """Compare-and-set on the stored digest; `new.head.version` is given by the store."""
        ...

    def plan(self, appliance_id: ApplianceId, version: int | None = None) -> StoredSet | None:
        """The newest plan, or one of the last PLANS_KEPT versions."""
        ...

    def save_plan(
        self, appliance_id: ApplianceId, new: StoredSet, *, expected_version: int, event: NewEvent | None, now_s: float
    ) -> int | None:
        """Compare-and-set on `FleetRow.plan.version`; the new version, None when it lost or the appliance is gone."""
        ...

    def save_plan_all(
        self, new: Mapping[ApplianceId, StoredSet], *, expected_versions: Mapping[ApplianceId, int], now_s: float
    ) -> frozenset[ApplianceId]:
        """Many plans in one transaction, each a compare-and-set of its own; the appliances that were written."""
        ...


PLANS_KEPT = 16
"""Versions of a plan that deltas can start from."""


class CatalogStore(Protocol):
    """Titles and files."""

    def titles(
        self, *, after: TitleId | None = None, limit: int | None = None, find: str = "", is_newest_first: bool = False
    ) -> tuple[StoredTitle, ...]:
        """Visible titles in order of id, or the newest first.

        Args:
            after: go on behind this title, in the order asked for; withdrawn titles do as well, unknown ones end it.
            find: words that must all be in id or name, in upper or lower case.
        """
        ...

    def title(self, title_id: TitleId) -> StoredTitle | None: ...

    def register_title(
        self, title: Title, *, expected_version: int, event: NewEvent, now_s: float
    ) -> StoredTitle | TitleConflict:
        """Make a title visible, whole: compare-and-set on its version (0: must not exist).

        Files get the next numbers without a gap; a file known by its SHA-256 keeps the number it has, for ever.
        """
        ...

    def withdraw_title(self, title_id: TitleId, *, event: NewEvent, now_s: float) -> bool:
        """Make a title invisible; its version goes on from here when it is published again."""
        ...

    def files(self, numbers: Sequence[FileNo]) -> tuple[CatalogFile, ...]:
        """The files of these numbers that visible titles have, in order of number; at most 10,000 at once."""
        ...

    def catalog_files(self) -> tuple[CatalogFile, ...]:
        """Every file of the visible titles in order of number; one that two titles share stands under one of them."""
        ...

    def published(self) -> FileSet:
        """The numbers of every file of the visible titles."""
        ...

    def catalog_totals(self) -> CatalogTotals: ...


class TokenStore(Protocol):
    """Secrets as SHA-256 and who they belong to."""

    def tokens(self) -> tuple[TokenRow, ...]:
        """Operators' tokens in force, oldest first."""
        ...

    def token(self, token_id: str) -> TokenRow | None: ...

    def appliance_token(self, appliance_id: ApplianceId) -> TokenRow | None:
        """The credential in force."""
        ...

    def add_token(
        self, token: TokenRow, *, event: NewEvent | None, now_s: float, only_first_admin: bool = False
    ) -> bool:
        """False: it is there already, `only_first_admin` and an admin token is in force, or its parent has ended."""
        ...

    def touch_token(self, token_id: str, *, now_s: float) -> None:
        """Note that a token was used."""
        ...

    def start_rotation(self, token_id: str, *, next_sha256: str) -> bool:
        """Give a token a second secret; a rotation not yet ended is replaced."""
        ...

    def end_rotation(self, token_id: str, *, used_sha256: str, event: NewEvent, now_s: float) -> bool:
        """Compare-and-set: the second secret was used and becomes the only one."""
        ...

    def revoke_token(
        self, token_id: str, *, event: NewEvent | None, now_s: float, keeps_last_admin: bool = False
    ) -> bool:
        """End a token and the sessions opened with it. False: none in force, or it is the last admin's and stays."""
        ...

    def add_join_token(self, join: JoinRow, *, event: NewEvent, now_s: float) -> bool:
        """False: no such site."""
        ...

    def join_token(self, join_id: str) -> JoinRow | None: ...

    def enrol(
        self, join_id: str, appliance: Appliance, credential: TokenRow, *, event: NewEvent, now_s: float
    ) -> Enrolment:
        """Consume a join token, create or renew the appliance and its credential, in one transaction.

        A token already consumed by the same appliance is taken again until the credential it gave is first used: the
        answer may have been lost.
        """
        ...


class RouteStore(Protocol):
    """What appliances hear over BGP: sessions, tables as lists of chunks, chunks by digest."""

    def routes_version(self) -> int:
        """Grows with each change of a session or of its table: one cheap read."""
        ...

    def speaker(self, appliance_id: ApplianceId) -> StoredSpeaker | None:
        """An appliance's sessions, none before its first message; None: no such appliance."""
        ...

    def speaker_versions(self) -> Mapping[ApplianceId, int]:
        """`StoredSpeaker.version` of all that ever spoke."""
        ...

    def speakers(self, appliance_ids: Sequence[ApplianceId]) -> tuple[StoredSpeaker, ...]: ...

    def save_speaker(
        self, new: Taken, *, expected_boot_id: str, expected_sequence: int, history_step_s: float, now_s: float
    ) -> bool:
        """Compare-and-set on the last message ('': none yet), with its events; another table is added to the history
        when the last one there is `history_step_s` old."""
        ...

    def whole_lists(self, digests: Iterable[str]) -> dict[str, int]:
        """Of these tables, those of which every chunk is there, with their number of routes."""
        ...

    def put_list(
        self, digest: str, places: Sequence[ChunkPlace], *, by: ApplianceId, now_s: float
    ) -> tuple[str, ...] | None:
        """Write the list of a table's chunks; the chunks that are missing. None: no such appliance."""
        ...

    def wanted_chunks(self, digests: Iterable[str], *, by: ApplianceId) -> tuple[str, ...]:
        """Of these chunks, those that a table of this appliance misses."""
        ...

    def put_chunks(self, chunks: Mapping[str, tuple[bytes, int]], *, by: ApplianceId, now_s: float) -> int:
        """Store chunks (packed, number of routes) that a table of this appliance misses; how many it takes.

        Raises:
            RouteError: the table would be larger than any is.
        """
        ...

    def route_list(self, digest: str) -> tuple[ChunkPlace, ...] | None:
        """The chunks of a table; None unless it is whole."""
        ...

    def route_lists(self, digests: Sequence[str]) -> Mapping[str, tuple[ChunkPlace, ...]]:
        """The same of several, as far as they are whole."""
        ...

    def chunks(self, digests: Sequence[str]) -> Mapping[str, bytes]:
        """Those of these chunks that are there."""
        ...

    def flaps(self) -> Mapping[tuple[ApplianceId, str], bytes]:
        """Points of damping by appliance and session, as they were saved last."""
        ...

    def save_flaps(self, flaps: Mapping[tuple[ApplianceId, str], bytes]) -> None:
        """These, and no others; those of appliances that are not there are left out. Writes only what differs."""
        ...

    def past_tables(self, *, at_s: float) -> tuple[PastTable, ...]:
        """The newest table of each session that was written at or before `at_s`, as far as the history goes."""
        ...

    def sweep_routes(self, *, unused_since_s: float, history_since_s: float) -> Swept:
        """Drop history older than `history_since_s`, and what nobody refers to and was last used before
        `unused_since_s`."""
        ...


class RecordStore(Protocol):
    """Identity, events, leases, notes, the compiled snapshot."""

    def control_id(self) -> str:
        """The store's random name, given at its creation: another one is another control plane."""
        ...

    def versions(self) -> Versions:
        """All counters in one cheap read."""
        ...

    def append_event(self, event: NewEvent, *, now_s: float) -> int:
        """Write an event that goes with no other change; its id."""
        ...

    def events(self, *, after: int = 0, limit: int = 100) -> tuple[EventView, ...]:
        """Events with ids above `after`, oldest first; ids have no gaps and become visible in order."""
        ...

    def drop_events(self, *, keep: int) -> int:
        """Forget all but the newest `keep` events; how many went. Their ids are not given again."""
        ...

    def take_lease(self, name: str, holder: str, *, duration_s: float, now_s: float) -> Lease | None:
        """Take or renew a lease; None while somebody else's has not expired."""
        ...

    def give_up_lease(self, name: str, holder: str) -> None:
        """End a lease early, if it is still the holder's."""
        ...

    def put_note(self, key: str, text: str, *, now_s: float) -> None:
        """What one control node lets the others know (its probes); the last writer wins, a power cut may lose it."""
        ...

    def notes(self, prefix: str, *, since_s: float = 0.0) -> Mapping[str, str]:
        """Notes whose key starts with `prefix`, written at or after `since_s`."""
        ...

    def drop_notes(self, prefix: str, *, before_s: float) -> None:
        """Forget notes that were written before `before_s`."""
        ...

    def snapshot(self) -> StoredSnapshot | None: ...

    def snapshot_etag(self) -> tuple[int, str] | None:
        """Version and entity tag, without the body."""
        ...

    def save_snapshot(self, new: StoredSnapshot, *, expected_version: int) -> bool:
        """Compare-and-set; `new.version` must be above `expected_version` (0: none yet). Parts go with it; those that
        no snapshot names any more are kept for a while."""
        ...

    def snapshot_part(self, digest: str) -> bytes | None:
        """A large section of the snapshot, or of one before it."""
        ...


class Store(
    FleetStore, MaintenanceStore, FillStore, HoldingsStore, CatalogStore, TokenStore, RouteStore, RecordStore, Protocol
):
    """The whole store."""

    def close(self) -> None: ...
