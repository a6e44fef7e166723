"""Names and values of a machine's counters, from the text of its own /proc. Pure.

`COLLECT` is the shell script that prints the text, the same in a guest and in a namespace. Names:

    mem.<field>_bytes        /proc/meminfo, as mem.mem_free_bytes, mem.slab_bytes
    mem.slab.<cache>         bytes in active objects of one cache of /proc/slabinfo, as mem.slab.TCP
    mem.slab_tcp_objects     active objects of TCP's sockets and connection requests, those in TIME_WAIT not counted
    sock.<protocol>_<field>  /proc/net/sockstat, as sock.tcp_inuse, sock.tcp_mem (pages)
    tcp.<field>              /proc/net/snmp, as tcp.retrans_segs, tcp.out_segs, tcp.estab_resets
    tcpext.<field>           /proc/net/netstat without its TCP prefix, as tcpext.timeouts, tcpext.spurious_rtos
    ip.<field>               bytes and packets of /proc/net/netstat, as ip.out_octets
    fd.count, proc.count, proc.rss_bytes, proc.anon_bytes    of all nginx processes; nginx.error_lines of its error log

`proc.rss_bytes` is what the kernel has at hand, and may be off by a quarter of a MiB; `proc.anon_bytes` (memory of
their own, from smaps_rollup) is exact to the page: leaks are measured by it.

Counters of TCP begin at the start of the machine and only grow; the others are levels.
"""

import re
from collections.abc import Iterator

COLLECT = r"""
for f in $HEADRACE_FILES net/sockstat net/snmp net/netstat; do echo "=== $f"; cat /proc/$f 2>/dev/null; done
echo "=== processes"
for p in $(grep -l '^nginx' /proc/[0-9]*/comm 2>/dev/null); do
  p=${p%/comm}
  sed -n 's/^VmRSS:[^0-9]*\([0-9]*\).*/rss \1/p; s/^Anonymous:[^0-9]*\([0-9]*\).*/anon \1/p' \
    $p/status $p/smaps_rollup 2>/dev/null
  set -- $p/fd/*
  echo "fds $#"
done
echo "=== errors"
[ ! -e "$HEADRACE_ERRORS" ] || wc -l <"$HEADRACE_ERRORS"
"""
"""HEADRACE_FILES: what else of /proc is this machine's own; HEADRACE_ERRORS: nginx's error log."""

WHOLE_MACHINE = "meminfo slabinfo"
_TCP_CACHES = {"TCP", "TCPv6", "request_sock_TCP", "request_sock_TCPv6"}
_PAIRED = {"net/snmp": {"Tcp": "tcp"}, "net/netstat": {"TcpExt": "tcpext", "IpExt": "ip"}}
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def collect_command(*, files: str, errors: str) -> str:
    """The shell command that prints everything. `files`: WHOLE_MACHINE or ''."""
    return f"HEADRACE_FILES='{files}' HEADRACE_ERRORS='{errors}'{COLLECT}"


def parse_counters(text: str) -> dict[str, float]:
    """Values by name; what is not understood is left out."""
    found: dict[str, float] = {}
    for name, lines in _sections(text):
        if name == "meminfo":
            found.update(_meminfo(lines))
        elif name == "slabinfo":
            found.update(_slabinfo(lines))
        elif name == "net/sockstat":
            found.update(_sockstat(lines))
        elif name in _PAIRED:
            found.update(_paired(lines, _PAIRED[name]))
        elif name == "processes":
            found.update(_processes(lines))
        elif name == "errors" and lines and lines[0].strip().isdigit():
            found["nginx.error_lines"] = float(lines[0])
    return found


def snake(name: str) -> str:
    """RetransSegs -> retrans_segs, TCPSpuriousRTOs -> spurious_rtos, Active(anon) -> active_anon."""
    words = _CAMEL.sub("_", name.removeprefix("TCP").replace("RTOs", "Rtos").replace("ACKs", "Acks"))
    return re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")


def _sections(text: str) -> Iterator[tuple[str, list[str]]]:
    for part in text.split("=== ")[1:]:
        name, _, body = part.partition("\n")
        yield name.strip(), body.splitlines()


def _meminfo(lines: list[str]) -> Iterator[tuple[str, float]]:
    for line in lines:
        match = re.fullmatch(r"(\S+):\s+(\d+) kB", line)
        if match:
            yield f"mem.{snake(match[1])}_bytes", float(match[2]) * 1024


def _slabinfo(lines: list[str]) -> Iterator[tuple[str, float]]:
    tcp_objects = 0.0
    for line in lines:
        words = line.split()
        if len(words) > 4 and all(word.isdigit() for word in words[1:4]):
            yield f"mem.slab.{words[0]}", float(words[1]) * float(words[3])
            tcp_objects += float(words[1]) * (words[0] in _TCP_CACHES)
    if lines:
        yield "mem.slab_tcp_objects", tcp_objects


def _sockstat(lines: list[str]) -> Iterator[tuple[str, float]]:
    for line in lines:
        protocol, _, rest = line.partition(":")
        words = rest.split()
        for key, value in zip(words[::2], words[1::2], strict=False):
            yield f"sock.{protocol.lower()}_{key}", float(value)


def _paired(lines: list[str], wanted: dict[str, str]) -> Iterator[tuple[str, float]]:
    for names, values in zip(lines[::2], lines[1::2], strict=False):
        prefix = wanted.get(names.partition(":")[0])
        if prefix:
            for name, value in zip(names.split()[1:], values.split()[1:], strict=False):
                yield f"{prefix}.{snake(name)}", float(value)


def _processes(lines: list[str]) -> dict[str, float]:
    pairs = [words for line in lines if len(words := line.split()) == 2 and words[1].isdigit()]
    return {
        "proc.rss_bytes": sum(float(value) * 1024 for key, value in pairs if key == "rss"),
        "proc.anon_bytes": sum(float(value) * 1024 for key, value in pairs if key == "anon"),
        "proc.count": float(sum(key == "rss" for key, _ in pairs)),
        "fd.count": sum(float(value) for key, value in pairs if key == "fds"),
    }
