"""What the health loop remembers of an appliance beside its health, as the text that the store keeps for it."""

from dataclasses import dataclass, field, replace
from functools import lru_cache

from headrace.fleet.health import HealthTrack
from headrace.fleet.lifecycle import Drain, DrainState
from headrace.fleet.model import CheckResult, Health
from headrace.wire.codec import decode, encode
from headrace.wire.errors import MalformedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """A track of health and the state of a drain."""

    track: HealthTrack = field(default_factory=HealthTrack)
    drain: Drain = field(default_factory=Drain)


def write_memory(memory: Memory) -> str:
    """The text to store; health is left out, because it is stored by itself."""
    bare = replace(
        memory, track=replace(memory.track, health=Health(), good_since_s=None, answered=-1, answered_moved_s=None)
    )
    return encode(bare).decode()


def read_memory(health: Health, text: str) -> Memory:
    """What was remembered. Text that cannot be read (an older release's) is as good as none: recoveries take longer."""
    memory = _read(text)
    return replace(memory, track=replace(memory.track, health=health))


@lru_cache(maxsize=32_768)
def _read(text: str) -> Memory:
    try:
        return decode(Memory, text) if text else Memory()
    except MalformedError:
        return Memory()


def turn_up_checks(text: str) -> tuple[CheckResult, ...]:
    """The turn-up checks of a stored memory, as they last stood before the appliance was turned up."""
    return _read(text).track.checks


def is_drained(text: str) -> bool:
    """Whether a stored memory says that a drain is done."""
    return bool(text) and read_memory(Health(), text).drain.state is DrainState.DRAINED
