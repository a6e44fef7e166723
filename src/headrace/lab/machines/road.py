"""The road: a guest between client and machine that delays, bounds, loses, reorders and doubles packets with netem.

A guest of its own because the kernel of this machine may have no netem, and because the machine's kernel, which is
under test, would answer to a queue of its own otherwise. Both ends of the road are interfaces of the cell.
"""

import shlex
from pathlib import Path

from headrace.lab.adapters.programs import add_program, find_program
from headrace.lab.errors import NotPossibleHereError
from headrace.lab.machines.guest import Guest, GuestSpec, boot, guest_image
from headrace.lab.machines.place import Place
from headrace.lab.machines.uml import USER_MODE
from headrace.lab.profiles import Profile, netem_words

CLIENT_TAP, MACHINE_TAP = "c0", "x0"
CLIENT_SIDE, MACHINE_SIDE = "10.77.1.1", "10.77.2.1"
"""The road's own addresses."""
MACHINES_NETWORK = "10.77.0.0/24"
_MEMORY_MIB = 256
_DEBIAN = Path("/usr/bin/linux.uml")
_BIN = "/lab/bin"


def find_road_kernel(given: Path | None, machine: Path | None) -> Path:
    """The kernel for the road: the one given, Debian's, else the machine's own.

    Raises:
        NotPossibleHereError: none is there.
    """
    for kernel in (given, _DEBIAN, machine):
        if kernel is not None and (kernel == given or kernel.is_file()):
            return kernel
    raise NotPossibleHereError(
        "this profile needs a User-Mode Linux kernel as the road: apt-get install user-mode-linux, or --road-kernel "
        "PATH; without one only the profile lan works"
    )


async def start_road(kernel: Path, place: Place, profile: Profile, *, beyond: str) -> Guest:
    """Boot the road on the interfaces CLIENT_TAP and MACHINE_TAP of its space, with `profile` on it.

    Args:
        beyond: address at the machine's end through which the machine is reached.

    Raises:
        NotPossibleHereError: the kernel has no netem, or iproute2 is not here.
        MachineError: it did not boot.
    """
    image = await guest_image(USER_MODE, kernel, None, ("sch_netem",), _setup(beyond))
    for name in ("ip", "tc"):
        await add_program(image, find_program(name, mend="apt-get install iproute2"), f"{_BIN}/{name}")
    spec = GuestSpec(
        name="road",
        emulator=USER_MODE,
        kernel=kernel,
        taps=(CLIENT_TAP, MACHINE_TAP),
        memory_mib=_MEMORY_MIB,
        image=image,
    )
    road = await boot(spec, place)
    try:
        await set_profile(road, profile)
    except BaseException:
        await road.stop()
        raise
    return road


async def set_profile(road: Guest, profile: Profile) -> None:
    """Change what the road does, at once.

    Raises:
        NotPossibleHereError: its kernel refuses.
    """
    for device, direction in (("vec0", profile.down), ("vec1", profile.up)):
        # Not `replace`: what the new profile does not name would stay as the one before it had it, such as a rate.
        words = f"{_BIN}/tc qdisc del dev {device} root 2>/dev/null; {_BIN}/tc qdisc add dev {device} root"
        ran = await road.run(["sh", "-c", f"{words} {shlex.join(netem_words(direction))}"])
        if ran.exit_code:
            raise NotPossibleHereError(
                f"the road's kernel refused netem ({ran.output.strip()[:300]}): it needs CONFIG_NET_SCH_NETEM"
            )


def _setup(beyond: str) -> str:
    lines = [
        f"ip addr add {CLIENT_SIDE}/24 dev vec0",
        f"ip addr add {MACHINE_SIDE}/24 dev vec1",
        # Packets that were joined on the way in would be lost or delayed as one.
        f"{_BIN}/ip link set vec0 gro_max_size 1514 up",
        f"{_BIN}/ip link set vec1 gro_max_size 1514 up",
        f"ip route add {MACHINES_NETWORK} via {beyond}",
        "echo 1 > /proc/sys/net/ipv4/ip_forward",
    ]
    return " &&\n".join(lines) + "\n"
