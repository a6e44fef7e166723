"""ExaBGP's configuration and environment from our settings. Pure; what the words mean: ExaBGP 5, `exabgp validate`.

It hears and says nothing: no route is announced but those of `announce`, none is kept by ExaBGP itself.
"""

from collections.abc import Set
from importlib import resources

from headrace.appliance.bgp.settings import BgpPeer, BgpSettings, router_id
from headrace.routes.model import AddressFamily

_MOST_TTL = 255


def render_speaker_conf(settings: BgpSettings, collector: str, *, left_out: Set[str] = frozenset()) -> str:
    """The text of exabgp.conf.

    Args:
        collector: command line of the process that takes what is heard.
        left_out: addresses of peers without a session for now.
    """
    peers = [peer for peer in settings.peers if peer.enabled and peer.address not in left_out]
    return "\n".join([_text("process.conf").format(run=collector), *(_neighbour(settings, peer) for peer in peers)])


def _neighbour(settings: BgpSettings, peer: BgpPeer) -> str:
    options = [f"listen {peer.port};" if peer.passive else f"connect {peer.port};"]
    if peer.md5_password:
        options += [f'md5-password "{peer.md5_password}";', "md5-base64 false;"]
    if peer.ttl_security_hops:
        # RFC 5082: everybody sends with 255, so what arrives with less has come from further away.
        options += [f"outgoing-ttl {_MOST_TTL};", f"incoming-ttl {_MOST_TTL + 1 - peer.ttl_security_hops};"]
    family = "ipv4" if peer.family is AddressFamily.IPV4 else "ipv6"
    own = settings.announced_to(peer)
    routes = "".join(f"unicast {prefix} next-hop {peer.local_address}; " for prefix in own)
    return _text("neighbour.conf").format(
        address=peer.address,
        router_id=router_id(settings),
        local_address=peer.local_address,
        local_as=settings.local_as,
        peer_as=peer.peer_as,
        hold_time=settings.hold_time_s,
        passive="true" if peer.passive else "false",
        options="\n    ".join(options),
        family=family,
        announce=f"announce {{ {family} {{ {routes}}} }}" if own else "",
    )


def speaker_environment(user: str) -> dict[str, str]:
    """What ExaBGP reads from its environment. It stays the user that it was started as."""
    values = {
        "daemon.drop": "false",
        "daemon.user": user,
        "daemon.daemonize": "false",
        "daemon.umask": "0077",
        "api.ack": "false",
        "api.cli": "false",
        "api.compact": "true",
        "api.respawn": "false",
        "api.terminate": "true",
        "log.destination": "stderr",
        "log.level": "WARNING",
        "log.short": "false",
        "tcp.bind": "",
    }
    return {f"exabgp.{key}": value for key, value in values.items()}


def _text(name: str) -> str:
    return resources.files("headrace.appliance.bgp").joinpath(f"{name}.template").read_text(encoding="utf-8")
