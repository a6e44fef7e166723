"""Peers that only look up: a MaxMind DB reader and nginx `geo`, with the prefixes of `steering_scale.py`.

They say by which prefix a client is covered, and nothing of routes, titles, load or order: what is compared is a
look-up with a whole decision. Records are numbers of networks.
"""

import ipaddress
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import maxminddb

from headrace.lab.adapters.nginx_program import find_nginx

PEERS = Path(__file__).parents[1] / ".build" / "bench-peers"
"""mmdb-writer, which nothing else here needs."""
BATCH = 100
"""Requests that are sent in one go: the client must not be what is measured."""
WAIT_S = 30.0

Prefixes = Sequence[tuple[str, int]]
"""Prefix and record, outer ones first."""


def mmdb_lookups(prefixes: Prefixes, addresses: Sequence[bytes], folder: Path) -> float:
    """Look-ups per CPU second of the reader with its C extension, with the text of the address made from its bytes."""
    file = folder / "prefixes.mmdb"
    write_mmdb(prefixes, file)
    reader = maxminddb.open_database(str(file), maxminddb.MODE_MMAP_EXT)
    try:
        started = time.process_time()
        for address in addresses:
            reader.get(ipaddress.ip_address(address))
        return len(addresses) / (time.process_time() - started)
    finally:
        reader.close()


def write_mmdb(prefixes: Prefixes, file: Path) -> None:
    if not (PEERS / "mmdb_writer").exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(PEERS), "mmdb-writer"]
        subprocess.run(pip, check=True, timeout=300)
    sys.path.append(str(PEERS))
    writer, netaddr = import_module("mmdb_writer"), import_module("netaddr")
    tree = writer.MMDBWriter(6, "bench", ipv4_compatible=True)
    for prefix, record in prefixes:
        tree.insert_network(netaddr.IPSet([netaddr.IPNetwork(prefix)]), {"n": record})
    tree.to_db_file(str(file))


def geo_answers(prefixes: Prefixes, addresses: Sequence[bytes], folder: Path) -> dict[str, float]:
    """Answers per CPU second of one nginx: a constant, and the record that `geo` finds for an address in the query."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    rows = "".join(f"{prefix} {record};\n" for prefix, record in prefixes)
    (folder / "geo.conf").write_text(
        f"daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log; events {{}}\n"
        f"http {{ access_log off; keepalive_requests 100000000; geo $arg_c $network {{ default 0;\n{rows}}}\n"
        + "".join(
            f"{name}_temp_path {folder}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        + f"server {{ listen 127.0.0.1:{port}; location /geo {{ return 200 $network; }}\n"
        'location /constant { return 200 "1"; } } }\n'
    )
    nginx = find_nginx(None)
    with subprocess.Popen(
        [nginx, "-p", str(folder), "-c", str(folder / "geo.conf")], stderr=subprocess.DEVNULL
    ) as server:
        try:
            return {name: answers(server.pid, port, name, addresses) for name in ("constant", "geo")}
        finally:
            server.terminate()


def answers(pid: int, port: int, name: str, addresses: Sequence[bytes]) -> float:
    requests = [f"GET /{name}?c={ipaddress.ip_address(one)} HTTP/1.1\r\nHost: x\r\n\r\n".encode() for one in addresses]
    with connected(port) as client:
        before = cpu_s(pid)
        for first in range(0, len(requests), BATCH):
            batch = requests[first : first + BATCH]
            client.sendall(b"".join(batch))
            seen, tail = 0, b""
            while seen < len(batch):
                got = client.recv(1 << 16)
                if not got:
                    raise ConnectionError(f"nginx closed the connection that asked for /{name}")
                data = tail + got
                seen += data.count(b"HTTP/1.1 200")
                tail = data[-11:]
        return len(requests) / (cpu_s(pid) - before)


def connected(port: int) -> socket.socket:
    """A connection, as soon as the server has read its file."""
    end_s = time.monotonic() + WAIT_S
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=WAIT_S)
        except ConnectionRefusedError:
            if time.monotonic() > end_s:
                raise
            time.sleep(0.1)


def cpu_s(pid: int) -> float:
    """CPU seconds of a process, in user and in system mode."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
