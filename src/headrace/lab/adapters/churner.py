"""Come and go many times: a program for the inside of a cell that does an exact number of visits. It decides nothing.

Started as a script, in a Python without site packages. Reads one JSON object from its input: `address`, `port`,
`tls_port`, `small` and `large` (paths), `seed`, `workers`, `stall_s` and `visits`, a number by kind:

    short    one request on a connection that the client closes
    closed   one request on a connection that the server is asked to close
    kept     several requests on one connection
    steady   hundreds of requests on one connection, each of them timed
    silent   a connection without a request
    abort    a transfer that the client resets: at its first byte, later on, or after the server had to wait
    tls      one request over TLS
    tls-abort    a transfer over TLS that the client resets

The same object gives the same visits in the same order, whatever the machine's speed. Prints one JSON object: visits
done by kind, `failed`, `why` (the first failures), `timed` answers and how many of those were `slow`. Bodies are
counted, not compared.
"""

import json
import os
import select
import socket
import ssl
import struct
import sys
from collections.abc import Callable
from time import perf_counter

Connection = socket.socket | ssl.SSLSocket

CHUNK_BYTES = 1 << 16
KEPT_REQUESTS = 4
STEADY_REQUESTS = 250
SLOW_S = 0.010  # far above what a small answer takes, and below any pause that a player would notice
MOST_READ_BYTES = 200_000
WAIT_S = 0.002
RECEIVE_BUFFER_BYTES = 1 << 16  # a server that sends a large file has to wait for this client
RESET = struct.pack("ii", 1, 0)
SPREAD = 2_654_435_761  # Knuth's multiplicative hash: scatters the kinds and amounts evenly
MOST_SHOWN = 3


class Visitor:
    """One of the processes that share the visits."""

    def __init__(self, plan: dict[str, object]) -> None:
        self.address, self.stall_s = str(plan["address"]), float(str(plan["stall_s"]))
        self.ports = {False: int(str(plan["port"])), True: int(str(plan["tls_port"]))}
        self.small, self.large = str(plan["small"]), str(plan["large"])
        self.tls = ssl.create_default_context()
        self.tls.check_hostname = False
        self.tls.verify_mode = ssl.CERT_NONE  # the lab's own certificate
        self.timed = self.slow = 0

    def visit(self, kind: str, number: int) -> None:
        """Raises OSError when the server did not do its part."""
        connection = self.connect(is_tls=kind.startswith("tls"))
        try:
            KINDS[kind](self, connection, number)
        finally:
            connection.close()

    def connect(self, *, is_tls: bool) -> Connection:
        plain = socket.socket()
        try:
            plain.settimeout(self.stall_s)
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            plain.connect((self.address, self.ports[is_tls]))
            return self.tls.wrap_socket(plain) if is_tls else plain
        except BaseException:
            plain.close()
            raise

    def short(self, connection: Connection, _number: int) -> None:
        self.ask(connection, self.small)
        read_answer(connection)

    def closed(self, connection: Connection, _number: int) -> None:
        self.ask(connection, self.small, "Connection: close\r\n")
        read_answer(connection)
        if connection.recv(1):
            raise OSError("bytes after an answer")

    def kept(self, connection: Connection, _number: int) -> None:
        for _ in range(KEPT_REQUESTS):
            self.short(connection, 0)

    def steady(self, connection: Connection, _number: int) -> None:
        for _ in range(STEADY_REQUESTS):
            began_s = perf_counter()
            self.short(connection, 0)
            self.timed += 1
            self.slow += perf_counter() - began_s > SLOW_S

    def silent(self, connection: Connection, _number: int) -> None:
        """Nothing is said."""

    def abort(self, connection: Connection, number: int) -> None:
        self.ask(connection, self.large)
        if not connection.recv(CHUNK_BYTES):
            raise OSError("the connection ended before its answer")
        if number % 3 == 1:
            left = number * SPREAD % MOST_READ_BYTES
            while left > 0 and (got := connection.recv(min(left, CHUNK_BYTES))):
                left -= len(got)
        elif number % 3 == 2:
            select.select([], [], [], WAIT_S)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)

    def ask(self, connection: Connection, path: str, more: str = "") -> None:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: lab\r\n{more}\r\n".encode())


KINDS: dict[str, Callable[[Visitor, Connection, int], None]] = {
    "short": Visitor.short,
    "closed": Visitor.closed,
    "kept": Visitor.kept,
    "steady": Visitor.steady,
    "silent": Visitor.silent,
    "abort": Visitor.abort,
    "tls": Visitor.short,
    "tls-abort": Visitor.abort,
}


def read_answer(connection: Connection) -> None:
    """Read one answer to its end. Raises OSError: it is no 200 or not whole."""
    got = b""
    while b"\r\n\r\n" not in got:
        more = connection.recv(CHUNK_BYTES)
        if not more:
            raise OSError(f"the connection ended after {len(got)} bytes of a head")
        got += more
    head, _, body = got.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    if lines[0].split()[1:2] != ["200"]:
        raise OSError(f"answered {lines[0][:80]!r}, not 200")
    lengths = [line.partition(":")[2] for line in lines if line.lower().startswith("content-length:")]
    left = int(lengths[0]) - len(body) if lengths else 0
    while left > 0:
        more = connection.recv(min(left, CHUNK_BYTES))
        if not more:
            raise OSError(f"the connection ended {left} bytes before the end of a body")
        left -= len(more)


def in_order(visits: dict[str, int], seed: int) -> list[str]:
    """All visits, scattered by the seed; the same for the same seed."""
    kinds = [kind for kind, count in sorted(visits.items()) for _ in range(count)]
    places = sorted(range(len(kinds)), key=lambda index: ((index + seed) * SPREAD % (1 << 32), index))
    return [kinds[index] for index in places]


def do_share(plan: dict[str, object], order: list[str], share: range) -> dict[str, object]:
    """The visits of one process."""
    visitor, done, failed = Visitor(plan), dict.fromkeys(KINDS, 0), 0
    why: list[str] = []
    for index in share:
        try:
            visitor.visit(order[index], index)
            done[order[index]] += 1
        except OSError as error:
            failed += 1
            why += [f"{order[index]}: {error}"[:200]] if len(why) < MOST_SHOWN else []
    return {"done": done, "failed": failed, "why": why, "timed": visitor.timed, "slow": visitor.slow}


def fork_share(plan: dict[str, object], order: list[str], share: range) -> int:
    """Start a process on its share; the end of a pipe on which it tells what it did."""
    out, into = os.pipe()
    if os.fork():
        os.close(into)
        return out
    try:
        os.write(into, json.dumps(do_share(plan, order, share)).encode())
    finally:
        os._exit(0)


def main() -> int:
    plan = json.load(sys.stdin)
    order, workers = in_order(plan["visits"], int(plan["seed"])), int(plan["workers"])
    pipes = [fork_share(plan, order, range(first, len(order), workers)) for first in range(workers)]
    shares = []
    for pipe in pipes:
        with os.fdopen(pipe, "rb") as told:
            shares.append(json.loads(told.read() or b"{}"))
    if not all(shares):
        return 1
    done = {kind: sum(share["done"][kind] for share in shares) for kind in KINDS}
    why = [line for share in shares for line in share["why"]][:MOST_SHOWN]
    sums = {name: sum(share[name] for share in shares) for name in ("failed", "timed", "slow")}
    json.dump({"done": done, "why": why, **sums}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
