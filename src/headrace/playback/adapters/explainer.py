"""Ask a running steering node for an explanation: the client's side of GET /v1/explain."""

import ssl
from pathlib import Path

import httpx

from headrace.playback.errors import PlaybackError
from headrace.steering.explain import Explanation
from headrace.wire.codec import decode
from headrace.wire.errors import MalformedError
from headrace.wire.operator import Problem


class AskError(PlaybackError):
    """The steering node did not explain; check its URL and the token."""

    exit_code = 44


def ask_explanation(url: str, token: str, ca_file: Path | None, *, timeout_s: float = 10.0) -> Explanation:
    """GET `url` and read the explanation.

    Raises:
        AskError: nobody answered, or the node refused; the message carries its reason.
    """
    headers = {"authorization": f"Bearer {token}"} if token else {}
    try:
        verify = ssl.create_default_context(cafile=str(ca_file)) if ca_file else True
        response = httpx.get(url, headers=headers, timeout=timeout_s, verify=verify, trust_env=False)
    except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, OSError) as error:
        raise AskError(f"no answer from {url.partition('?')[0]}: {error}") from None
    try:
        if response.status_code == 200:
            return decode(Explanation, response.content)
        refusal = decode(Problem, response.content)
    except MalformedError as error:
        raise AskError(f"HTTP {response.status_code} from {url.partition('?')[0]}: {error}") from None
    raise AskError(f"{refusal.code}: {refusal.detail}")
