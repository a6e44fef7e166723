"""Interfaces inside a cell, made with iproute2.

A route says which congestion control its connections use: unlike the namespace's own default, that needs neither a
setting of the whole machine nor its root. Offloads are bounded on links with an impairment, because netem would lose
or delay a bundle of 64 KB as one packet.
"""

from headrace.lab.adapters.cell import Cell, run_command
from headrace.lab.errors import NotPossibleHereError

MTU = 1500
CONGESTION = "cubic"


async def ip(cell: Cell, space: str, *lines: str) -> None:
    """Run lines of `ip` in the network of `space`.

    Raises:
        NotPossibleHereError: one was refused; quotes it.
    """
    ran = await run_command(cell.doors[space].enter_net(["ip", "-batch", "-"]), text="\n".join(lines) + "\n")
    if ran.exit_code:
        raise NotPossibleHereError(f"ip refused in the lab's {space} space: {ran.output.strip()[:400]}")


async def join_by_veth(cell: Cell, here: tuple[str, str], there: tuple[str, str]) -> None:
    """A cable between two spaces; both are (space, name of the interface)."""
    pid = cell.doors[there[0]].pid
    await ip(cell, here[0], f"link add {here[1]} mtu {MTU} type veth peer name {there[1]} netns {pid} mtu {MTU}")


async def make_tap(cell: Cell, space: str, name: str) -> None:
    """An interface whose other end a guest will hold."""
    await ip(cell, space, f"tuntap add dev {name} mode tap", f"link set {name} mtu {MTU} up")


async def move(cell: Cell, name: str, source: str, target: str, *, is_bundling: bool) -> None:
    """Take an interface into another space; a guest that holds its other end keeps it."""
    await ip(cell, source, f"link set {name} netns {cell.doors[target].pid}")
    if not is_bundling:
        await ip(cell, target, f"link set {name} gso_max_segs 1")


async def address(cell: Cell, space: str, name: str, own: str, *, gateway: str = "", beyond: str = "") -> None:
    """Give `name` the address `own` (with /24) and, through `gateway`, the way to the network `beyond`."""
    network = own.rpartition(".")[0] + ".0/24"
    lines = [
        "link set lo up",
        f"addr add {own}/24 dev {name} noprefixroute",
        f"link set {name} up",
        f"route add {network} dev {name} src {own} congctl {CONGESTION}",
    ]
    if gateway:
        lines.append(f"route add {beyond} via {gateway} dev {name} src {own} congctl {CONGESTION}")
    await ip(cell, space, *lines)


async def forward(cell: Cell, space: str) -> None:
    """Let packets pass through `space`.

    Raises:
        NotPossibleHereError: the kernel refuses.
    """
    argv = ["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]
    ran = await run_command(cell.doors[space].enter_net(argv))
    if ran.exit_code:
        raise NotPossibleHereError(f"the lab may not forward packets in its own namespace: {ran.output.strip()[:300]}")
