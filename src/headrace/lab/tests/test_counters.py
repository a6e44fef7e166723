"""Names and values of counters, from the text that machines really print."""

import pytest

from headrace.lab.counters import collect_command, parse_counters, snake

TEXT = """=== meminfo
MemTotal:         504240 kB
Active(anon):        124 kB
HugePages_Total:       0
=== slabinfo
slabinfo - version: 2.1
# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab>
TCP                   14     14   2240   14    8 : tunables    0    0    0 : slabdata      1      1      0
kmalloc-1k            64     64   1024   16    4 : tunables    0    0    0 : slabdata      4      4      0
=== net/sockstat
sockets: used 27
TCP: inuse 2 orphan 0 tw 3 alloc 4 mem 1
=== net/snmp
Ip: Forwarding DefaultTTL
Ip: 2 64
Tcp: RtoAlgorithm MaxConn OutSegs RetransSegs
Tcp: 1 -1 100 7
=== net/netstat
TcpExt: DelayedACKs TCPTimeouts TCPSpuriousRTOs TCPDSACKRecv
TcpExt: 1 2 3 4
IpExt: OutOctets
IpExt: 99
=== processes
rss 1000
anon 300
fds 10
rss 2000
anon 400
fds 12
=== errors
3
"""


def test_reads_every_section() -> None:
    found = parse_counters(TEXT)
    assert found == {
        "mem.mem_total_bytes": 504240 * 1024,
        "mem.active_anon_bytes": 124 * 1024,
        "mem.slab.TCP": 14 * 2240,
        "mem.slab_tcp_objects": 14,
        "mem.slab.kmalloc-1k": 64 * 1024,
        "sock.sockets_used": 27,
        "sock.tcp_inuse": 2,
        "sock.tcp_orphan": 0,
        "sock.tcp_tw": 3,
        "sock.tcp_alloc": 4,
        "sock.tcp_mem": 1,
        "tcp.rto_algorithm": 1,
        "tcp.max_conn": -1,
        "tcp.out_segs": 100,
        "tcp.retrans_segs": 7,
        "tcpext.delayed_acks": 1,
        "tcpext.timeouts": 2,
        "tcpext.spurious_rtos": 3,
        "tcpext.dsack_recv": 4,
        "ip.out_octets": 99,
        "proc.rss_bytes": 3000 * 1024,
        "proc.anon_bytes": 700 * 1024,
        "proc.count": 2,
        "fd.count": 22,
        "nginx.error_lines": 3,
    }


@pytest.mark.parametrize("text", ["", "=== meminfo\nnonsense\n=== net/snmp\nTcp:\n=== unknown\n1 2 3\n=== errors\n"])
def test_what_is_not_understood_is_left_out(text: str) -> None:
    assert {name for name in parse_counters(text) if not name.startswith(("proc", "fd"))} == set()


@pytest.mark.parametrize(
    ("name", "expected"),
    [("RetransSegs", "retrans_segs"), ("TCPSpuriousRTOs", "spurious_rtos"), ("Inactive(file)", "inactive_file")],
)
def test_snake(name: str, expected: str) -> None:
    assert snake(name) == expected


def test_the_command_names_the_files() -> None:
    command = collect_command(files="meminfo slabinfo", errors="/run/e")
    assert command.startswith("HEADRACE_FILES='meminfo slabinfo' HEADRACE_ERRORS='/run/e'\n")
