"""Servers that answer a constant: what `bench/steering.py` compares with, as programs."""

CONSTANTS = """
BODY = b'{"VERSION":1,"TTL":30,"PATHWAY-PRIORITY":["a","b","c"]}  '
HEADERS = [("content-type", "application/json")]
RAW = [(b"content-type", b"application/json"), (b"content-length", b"57")]

class Rsgi:
    async def __rsgi__(self, scope, proto):
        proto.response_bytes(200, HEADERS, BODY)

rsgi = Rsgi()

class Large:
    async def __rsgi__(self, scope, proto):
        proto.response_bytes(200, HEADERS, BODY * 30)

large = Large()

async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        return
    await send({"type": "http.response.start", "status": 200, "headers": RAW})
    await send({"type": "http.response.body", "body": BODY})

try:
    from starlette.applications import Starlette
    from starlette.responses import Response
    from starlette.routing import Route

    async def constant(request):
        return Response(BODY, media_type="application/json")

    starlette = Starlette(routes=[Route("/{rest:path}", constant)])
except ImportError:
    starlette = None
"""

OWN = """
import sys
from headrace.playback.adapters.server import serve
from headrace.playback.config import ListenSettings
from headrace.playback.service import Peer

HEAD = (
    b"HTTP/1.1 200 OK\\r\\ncontent-type: application/json\\r\\ncontent-length: 57\\r\\n"
    b"date: Mon, 23 Nov 2026 00:00:00 GMT\\r\\n\\r\\n"
)
ANSWER = HEAD + b'{"VERSION":1,"TTL":30,"PATHWAY-PRIORITY":["a","b","c"]}  '

class Constant:
    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        pass

    def meet(self, address, scheme):
        return Peer(address, scheme, False)

    def may_block(self, target):
        return False

    def respond(self, peer, method, target, headers, is_last):
        return ANSWER

settings = ListenSettings(
    host="127.0.0.1", port=int(sys.argv[1]), workers=1, tls_certificate="", tls_key="", connections=1000, idle_s=75
)
serve(settings, Constant)
"""
