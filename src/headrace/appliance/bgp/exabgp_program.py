"""ExaBGP, as the agent starts it: with one capability more than it can be configured to have.

Many routers send End-of-RIB only to peers that announce graceful restart (RFC 4724), and without End-of-RIB nobody
knows when a table is whole. ExaBGP announces it together with a promise to keep forwarding, which an appliance cannot
give, and then ends sessions without saying why. The RFC has the right form for us (section 3): the capability without
any family says that we understand End-of-RIB and preserve nothing.
"""

import sys
from typing import Any

from exabgp.application.main import main
from exabgp.bgp.message.open.capability.capabilities import Capabilities
from exabgp.bgp.message.open.capability.capability import Capability
from exabgp.bgp.message.open.capability.graceful import Graceful


def _announce_end_of_rib(capabilities: Any, _neighbour: object, _restarted: object) -> None:
    capabilities[Capability.CODE.GRACEFUL_RESTART] = Graceful().set(0, 0, [])


if __name__ == "__main__":
    Capabilities._graceful = _announce_end_of_rib
    sys.exit(main())
