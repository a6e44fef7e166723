"""Ask one URL once and say what came: run inside a namespace to check that a server answers rightly.

    python ask.py ADDRESS PORT PATH FIRST LAST clear|tls      FIRST and LAST `-` for the whole file

Prints one JSON line: status, headers, SHA-256 and length of the body, TLS version and cipher.
"""

import hashlib
import http.client
import json
import ssl
import sys

TIMEOUT_S = 20.0


def main() -> int:
    address, port, path, first, last, kind = sys.argv[1:7]
    connection = _connect(address, int(port), is_tls=kind == "tls")
    headers = {} if first == "-" else {"Range": f"bytes={first}-{last}"}
    connection.request("GET", path, headers=headers)
    cipher = connection.sock.cipher() if isinstance(connection.sock, ssl.SSLSocket) else None
    answer = connection.getresponse()
    body = answer.read()
    facts = {
        "status": answer.status,
        "headers": {name.lower(): value for name, value in answer.getheaders()},
        "length": len(body),
        "sha256": hashlib.sha256(body).hexdigest(),
        "cipher": cipher[0] if cipher else "",
        "tls": cipher[1] if cipher else "",
    }
    sys.stdout.write(json.dumps(facts) + "\n")
    connection.close()
    return 0


def _connect(address: str, port: int, *, is_tls: bool) -> http.client.HTTPConnection:
    if not is_tls:
        return http.client.HTTPConnection(address, port, timeout=TIMEOUT_S)
    context = ssl.create_default_context()
    context.check_hostname = False  # a certificate made for this run, by nobody
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return http.client.HTTPSConnection(address, port, timeout=TIMEOUT_S, context=context)


if __name__ == "__main__":
    sys.exit(main())
