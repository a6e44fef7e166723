"""Where clients belong, by routes alone: who should serve them, whatever their health, load and holdings are."""

from collections.abc import Sequence
from ipaddress import ip_network

from headrace.base.ids import SiteId
from headrace.steering.approach import Location
from headrace.steering.compile import CompiledSnapshot
from headrace.steering.decide import Decider
from headrace.steering.model import SnapshotAppliance
from headrace.steering.rank import Limits
from headrace.steering.rendezvous import hash_key


def best_for(decider: Decider, address: bytes, location: Location | None = None) -> Sequence[SnapshotAppliance]:
    """Those behind the best route, at the best kind of site, nearest: the first step of the client's approach."""
    steps = decider.ways(address, location).routed.steps
    return [each for hearer in steps[0][1] for each in decider.compiled.by_hearer[hearer]] if steps else ()


class Homes:
    """The home site of networks of clients, on one snapshot."""

    def __init__(self, compiled: CompiledSnapshot, limits: Limits) -> None:
        self._decider = Decider(compiled, limits, {})

    def of(self, network: str) -> SiteId | None:
        """The site that should serve a network such as 192.0.2.0/24; None where none hears it, or it is no network.

        Where several sites are as good, the network is one of theirs by a hash, so that each has its share of clients.
        """
        try:
            address = ip_network(network).network_address.packed
        except ValueError:
            return None
        sites = sorted({one.site_id for one in best_for(self._decider, address)})
        return max(sites, key=lambda site: hash_key(f"{site} {network}"), default=None)
