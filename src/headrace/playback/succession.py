"""May a pulled snapshot follow the one that is held? Pure.

Versions grow within one control plane's store, so an older one is a lagging replica or a restored backup. A snapshot of
another store (a control plane rebuilt from scratch, or a wrong URL) may be anything, even empty: neither is followed
until an operator says so (`headrace steer --accept-older`).
"""

from enum import StrEnum

from headrace.steering.compile import CompiledSnapshot


class Verdict(StrEnum):
    """What to do with a pulled snapshot; also a label of metrics."""

    FOLLOW = "follow"
    SAME = "same"
    OLDER = "older"
    OTHER_STORE = "other-store"


def judge(held: CompiledSnapshot | None, pulled: CompiledSnapshot, *, is_older_accepted: bool) -> Verdict:
    """Decide; FOLLOW and SAME load it, the others keep what is held."""
    if held is None or is_older_accepted:
        return Verdict.FOLLOW
    if held.control_id and pulled.control_id and held.control_id != pulled.control_id:
        return Verdict.OTHER_STORE
    if pulled.version < held.version:
        return Verdict.OLDER
    return Verdict.FOLLOW if pulled.version > held.version else Verdict.SAME
