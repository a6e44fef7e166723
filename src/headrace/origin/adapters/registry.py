"""Titles through the control plane's API."""

from headrace.base.ids import TitleId
from headrace.origin.errors import TitleConflictError
from headrace.wire.client import ControlClient
from headrace.wire.errors import ConflictError, NotFoundError, RefusedError
from headrace.wire.operator import TitleRegistration, TitleView


class ControlRegistry:
    """The control plane as a registry of titles."""

    def __init__(self, client: ControlClient) -> None:
        self._client = client

    async def check(self, title_id: TitleId) -> None:
        """The API proves the caller before it reads a body: an empty registration tells whether ours may come."""
        try:
            await self._client.raw("PUT", f"/v1/titles/{title_id}", content=b"{}")
        except RefusedError as error:
            if error.status not in {400, 422}:
                raise

    async def find(self, title_id: TitleId) -> TitleView | None:
        try:
            return await self._client.call("GET", f"/v1/titles/{title_id}", answer=TitleView)
        except NotFoundError:
            return None

    async def register(self, registration: TitleRegistration) -> TitleView:
        title_id = registration.title.title_id
        try:
            return await self._client.call("PUT", f"/v1/titles/{title_id}", body=registration, answer=TitleView)
        except ConflictError:
            raise TitleConflictError(
                f"another publish of title {title_id} won; nothing of this one is registered "
                "(see `headrace title show`, use --replace to publish over it)"
            ) from None
