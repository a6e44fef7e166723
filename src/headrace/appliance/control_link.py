"""How an agent proves who it is: enrols once with a join token, rotates its credential when asked, and speaks with it.

The credential is durable before it is used. A refused one is exchanged for the one before it, or, when the operator has
put a new join token into the file, for a new enrolment.
"""

import asyncio
import logging
from collections.abc import Awaitable
from typing import Any, TypeVar

from headrace.appliance.adapters.credential import (
    Credential,
    CredentialFile,
    digest_of,
    read_join_token,
    rotated,
    swapped,
)
from headrace.appliance.config import AgentConfig
from headrace.appliance.errors import JoinRefusedError
from headrace.base.ids import FileNo
from headrace.base.logs import event
from headrace.wire.agent import (
    CredentialAnswer,
    EnrolAnswer,
    EnrolRequest,
    ExchangeAnswer,
    ExchangeRequest,
    PlanUpdate,
    SourcesAnswer,
    SourcesRequest,
)
from headrace.wire.client import ControlClient
from headrace.wire.errors import ConflictError, UnauthorizedError
from headrace.wire.routes import RoutesAnswer, RoutesRequest, TableAnswer, TableRequest

T = TypeVar("T")

_log = logging.getLogger(__name__)


def no_token(config: AgentConfig) -> JoinRefusedError:
    """What is to be said when there is neither a credential nor a join token."""
    where = config.control.join_token_file or "control.join_token_file (not set)"
    return JoinRefusedError(
        f"not enrolled yet, and there is no join token in {where}; `headrace appliance token --site ID` makes one"
    )


def check_enrolment(config: AgentConfig) -> None:
    """Whether there is a credential, or a join token to get one with; asks nobody.

    Raises:
        JoinRefusedError: neither is there.
        StateError: one is there and cannot be read.
    """
    if CredentialFile(config.state).read() is None and not read_join_token(config.control.join_token_file):
        raise no_token(config)


class ControlLink:
    """The calls of an agent, with its own credential."""

    def __init__(self, config: AgentConfig, client: ControlClient, kept: CredentialFile) -> None:
        self._config, self._client, self._kept = config, client, kept
        self._credential = kept.read()
        self._turn = asyncio.Lock()
        """Two loops call; a join token is good for one of them."""

    async def enrol(self) -> None:
        """Get a credential if there is none.

        Raises:
            JoinRefusedError: there is no join token, or the control plane does not take it.
            WireError: nobody answered; try again later.
        """
        async with self._turn:
            if self._credential is not None:
                return
            token = read_join_token(self._config.control.join_token_file)
            if not token:
                raise no_token(self._config)
            await self._enrol_with(token)

    async def exchange(self, request: ExchangeRequest) -> ExchangeAnswer:
        """Report and fetch; raises WireError kinds."""
        return await self._ask("POST", "/v1/agent/exchange", body=request, answer=ExchangeAnswer)

    async def plan_page(self, update: PlanUpdate, after: FileNo) -> PlanUpdate:
        """The page of a plan update behind file number `after`; raises WireError kinds."""
        params = {"version": str(update.version), "after": str(after)}
        if update.base_version is not None:
            params["base"] = str(update.base_version)
        return await self._ask("GET", "/v1/agent/plan", params=params, answer=PlanUpdate)

    async def fill_sources(self, request: SourcesRequest) -> SourcesAnswer:
        """Ask who has files that are missing here; raises WireError kinds."""
        return await self._ask("POST", "/v1/agent/sources", body=request, answer=SourcesAnswer)

    async def routes(self, request: RoutesRequest) -> RoutesAnswer:
        """Say what is heard over BGP; raises WireError kinds."""
        return await self._ask("POST", "/v1/agent/routes", body=request, answer=RoutesAnswer)

    async def route_table(self, request: TableRequest) -> TableAnswer:
        """Name the chunks of one table; raises WireError kinds."""
        return await self._ask("POST", "/v1/agent/routes/table", body=request, answer=TableAnswer)

    async def route_chunks(self, body: bytes) -> None:
        """Send chunks; raises WireError kinds."""
        client, path = await self._ready(), "/v1/agent/routes/chunks"
        headers = {"content-type": "application/octet-stream"}
        await self._recovering(client.raw("POST", path, content=body, headers=headers))

    async def rotate(self) -> None:
        """Get a new credential and keep it before it is used; raises WireError kinds."""
        answer = await self._ask("POST", "/v1/agent/credential", answer=CredentialAnswer)
        if self._credential is not None:
            self._use(rotated(self._credential, answer.credential))
            event(_log, "credential_rotated")

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        answer: type[T],
        body: Any = None,
        params: dict[str, str] | None = None,
    ) -> T:
        client = await self._ready()
        return await self._recovering(client.call(method, path, body=body, answer=answer, params=params))

    async def _ready(self) -> ControlClient:
        """The client with our credential, which is got if there is none."""
        if self._credential is None:
            await self.enrol()
        assert self._credential is not None
        self._client.token = self._credential.token
        return self._client

    async def _recovering(self, call: Awaitable[T]) -> T:
        credential = self._credential
        try:
            return await call
        except UnauthorizedError as error:
            event(_log, "credential_refused", level=logging.WARNING, code=error.code)
            async with self._turn:
                # The other loop may have got another credential meanwhile.
                if credential is not None and credential is self._credential:
                    await self._recover(credential)
            raise

    async def _recover(self, credential: Credential) -> None:
        """Have another credential for the next attempt, if there is any."""
        token = read_join_token(self._config.control.join_token_file)
        if token and digest_of(token) != credential.joined_by:
            await self._enrol_with(token)
        elif credential.previous:
            self._use(swapped(credential))

    async def _enrol_with(self, token: str) -> None:
        appliance = self._config.appliance
        request = EnrolRequest(
            appliance_id=self._config.appliance_id,
            content_url=appliance.content_url.rstrip("/"),
            capacity_bps=appliance.capacity_bps,
        )
        self._client.token = token
        try:
            answer = await self._client.call("POST", "/v1/enrol", body=request, answer=EnrolAnswer)
        except (UnauthorizedError, ConflictError) as error:
            raise JoinRefusedError(f"the control plane refused the join token: {error}") from error
        self._use(Credential(token=answer.credential, joined_by=digest_of(token)))
        event(_log, "enrolled", appliance=answer.appliance_id, site=answer.site_id)

    def _use(self, credential: Credential) -> None:
        self._kept.write(credential)
        self._credential = credential
