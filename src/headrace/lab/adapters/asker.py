"""Ask one server the same thing many times over one connection: a program for the inside of a cell. It decides nothing.

Started as a script, in a Python without site packages. Arguments: address, port, path, range ('' for the whole file),
number of requests. Ends with 0 when every answer came whole, else with 1 and a line that says what came.
"""

import socket
import sys

TIMEOUT_S = 60.0
CHUNK_BYTES = 1 << 18


def read_answer(connection: socket.socket, wanted: str) -> None:
    """Read one answer to its end."""
    got = b""
    while b"\r\n\r\n" not in got:
        more = connection.recv(CHUNK_BYTES)
        if not more:
            raise OSError(f"the connection ended after {len(got)} bytes of a head")
        got += more
    head, _, body = got.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    if lines[0].split()[1:2] != [wanted]:
        raise OSError(f"answered {lines[0][:80]!r}, not {wanted}")
    lengths = [line.partition(":")[2] for line in lines if line.lower().startswith("content-length:")]
    left = int(lengths[0]) - len(body)
    while left:
        more = connection.recv(min(left, CHUNK_BYTES))
        if not more:
            raise OSError(f"the connection ended {left} bytes before the end of a body")
        left -= len(more)


def main() -> int:
    address, port, path, span, count = sys.argv[1:6]
    wanted = f"Range: bytes={span}\r\n" if span else ""
    request = f"GET {path} HTTP/1.1\r\nHost: lab\r\nUser-Agent: headrace-lab\r\n{wanted}\r\n".encode()
    try:
        with socket.create_connection((address, int(port)), timeout=TIMEOUT_S) as connection:
            for _ in range(int(count)):
                connection.sendall(request)
                read_answer(connection, "206" if span else "200")
    except OSError as error:
        sys.stdout.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
