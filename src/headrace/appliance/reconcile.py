"""Decides what an exchange says and what its answer means; lost, repeated and late messages end in the same state.

Holdings travel as a delta from a set that the control plane is known to have; when it turns out to have another one,
the whole set goes next. An answer counts only when it echoes the newest request.
"""

from collections import OrderedDict
from collections.abc import Set
from dataclasses import dataclass

from headrace.appliance.plan import FillPlan
from headrace.base.ids import ApplianceId, Sha256
from headrace.catalog.fileset import FileSet
from headrace.fleet.model import ApplianceReport
from headrace.wire.agent import DesiredState, ExchangeAnswer, ExchangeRequest, HoldingsReport, PlanUpdate

_REMEMBERED_SETS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """The verified files that the plan names, by number."""

    files: FileSet
    digest: str
    total_bytes: int


def held_of(plan: FillPlan, names: Set[Sha256]) -> Held:
    """What of `plan` is among the held `names`. Holding all of it is the rule, and costs no walk over the files."""
    if plan.by_sha256.keys() <= names:
        return Held(files=plan.numbers, digest=plan.numbers.digest(), total_bytes=plan.total_bytes)
    files = FileSet([number for number, file in plan.files.items() if file.sha256 in names])
    total_bytes = sum([file.size_bytes for name, file in plan.by_sha256.items() if name in names])
    return Held(files=files, digest=files.digest(), total_bytes=total_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class InForce:
    """The versions that this appliance works by."""

    desired_version: int
    plan_version: int
    plan_digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What an answer brought."""

    desired: DesiredState | None = None
    plan: PlanUpdate | None = None
    interval_s: float = 0.0
    should_rotate_credential: bool = False
    should_send_again: bool = False
    """The control plane has other holdings than were reported: tell it again without waiting."""
    was_stale: bool = False


class Exchanges:
    """The agent's side of the conversation in one boot."""

    def __init__(self, appliance_id: ApplianceId, boot_id: str) -> None:
        self._appliance_id, self._boot_id = appliance_id, boot_id
        self._sequence = 0
        empty = FileSet()
        self._sets: OrderedDict[str, FileSet] = OrderedDict({empty.digest(): empty})
        self._peer_digest: str | None = None

    def request(self, report: ApplianceReport, held: Held, in_force: InForce) -> ExchangeRequest:
        """The next message."""
        self._sequence += 1
        return ExchangeRequest(
            appliance_id=self._appliance_id,
            boot_id=self._boot_id,
            sequence=self._sequence,
            report=report,
            holdings=self._holdings(held),
            desired_version=in_force.desired_version,
            plan_version=in_force.plan_version,
            plan_digest=in_force.plan_digest,
        )

    def learn(self, answer: ExchangeAnswer, in_force: InForce) -> Learned:
        """Read an answer; one that is older than the newest request changes nothing."""
        if answer.sequence != self._sequence:
            return Learned(was_stale=True)
        sent = next(reversed(self._sets))
        self._peer_digest = answer.holdings_digest
        desired = answer.desired if answer.desired and answer.desired.version != in_force.desired_version else None
        return Learned(
            desired=desired,
            plan=answer.plan,
            interval_s=answer.interval_s,
            should_rotate_credential=answer.should_rotate_credential,
            should_send_again=answer.holdings_digest != sent,
        )

    def _holdings(self, held: Held) -> HoldingsReport:
        # At the start nothing is known of what the peer has: claiming our own digest without a delta costs nothing,
        # and the answer tells.
        base_digest: str | None = held.digest if self._peer_digest is None else self._peer_digest
        base = held.files if base_digest == held.digest else self._sets.get(base_digest or "")
        if base is None:
            base_digest, base = None, FileSet()
        self._remember(held)
        return HoldingsReport(
            digest=held.digest,
            count=len(held.files),
            total_bytes=held.total_bytes,
            base_digest=base_digest,
            added=(held.files - base).encode(),
            removed=(base - held.files).encode(),
        )

    def _remember(self, held: Held) -> None:
        self._sets[held.digest] = held.files
        self._sets.move_to_end(held.digest)
        while len(self._sets) > _REMEMBERED_SETS:
            self._sets.popitem(last=False)
