import httpx
import pytest

from headrace.wire.client import ControlClient
from headrace.wire.errors import ConflictError, NotFoundError, RefusedError, UnauthorizedError, UnreachableError
from headrace.wire.operator import JoinToken


def client(
    answer: httpx.Response | None, *, dead: set[str] = frozenset(), asked: list[str] | None = None
) -> ControlClient:  # type: ignore[assignment]
    def handle(request: httpx.Request) -> httpx.Response:
        if asked is not None:
            asked.append(request.url.host)
        if request.url.host in dead:
            raise httpx.ConnectError("refused")
        assert answer is not None
        return answer

    http = httpx.AsyncClient(transport=httpx.MockTransport(handle))
    return ControlClient(http, ("http://one/", "http://two"), "secret")


async def test_the_next_node_is_asked_when_one_is_dead_and_stays_first() -> None:
    asked: list[str] = []
    one = client(httpx.Response(200, json={"token": "t", "expires_at_s": 1}), dead={"one"}, asked=asked)
    assert (await one.call("POST", "/v1/join-tokens", answer=JoinToken)).token == "t"
    await one.call("POST", "/v1/join-tokens", answer=JoinToken)
    assert asked == ["one", "two", "two"]


async def test_nobody_answers() -> None:
    with pytest.raises(UnreachableError, match=r"one.*two"):
        await client(None, dead={"one", "two"}).raw("GET", "/healthz")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, UnauthorizedError),
        (403, UnauthorizedError),
        (404, NotFoundError),
        (409, ConflictError),
        (503, RefusedError),
    ],
)
async def test_refusals_carry_code_and_detail(status: int, kind: type[RefusedError]) -> None:
    body = {"title": "No", "status": status, "code": "some-code", "detail": "because"}
    with pytest.raises(kind, match="because") as caught:
        await client(httpx.Response(status, json=body)).raw("GET", "/")
    assert caught.value.code == "some-code"


async def test_a_refusal_that_is_no_problem_document_still_says_the_status() -> None:
    with pytest.raises(RefusedError, match="HTTP 502"):
        await client(httpx.Response(502, text="<html>")).raw("GET", "/")
