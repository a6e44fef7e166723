"""Proves who calls: bearer secrets against the store. Decides no roles (access.py does).

A rotated credential is taken over when it is first used. Failures are counted by client address, and past a limit
answered 429; a secret that is right always passes, so that a broken appliance cannot lock out the others behind its
address (secrets have 256 bits: guessing is no danger, retries without end are a load).
"""

import logging
from ipaddress import IPv6Address, ip_address, ip_network

from headrace.base.clock import Clock
from headrace.base.logs import event
from headrace.control.access import Caller
from headrace.control.model import JoinRow, NewEvent, TokenKind, TokenRow
from headrace.control.ports import Store
from headrace.control.secret_text import Secret, SecretKind, fits, read_secret

_log = logging.getLogger(__name__)

TOUCH_S = 300.0
"""How coarse 'last used' is."""
WINDOW_S = 60.0
MOST_ADDRESSES = 10_000

_KINDS = {
    SecretKind.OPERATOR: TokenKind.OPERATOR,
    SecretKind.APPLIANCE: TokenKind.APPLIANCE,
    SecretKind.SESSION: TokenKind.SESSION,
}


class Gate:
    """Looks secrets up. Blocks: called in threads."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def prove(self, text: str) -> Caller | None:
        """Who this secret belongs to; None when it is not in force. Raises StoreError."""
        secret = read_secret(text)
        if secret is None:
            return None
        if secret.kind is SecretKind.JOIN:
            join = self._store.join_token(secret.secret_id)
            return _joiner(join) if join is not None and fits(secret, join.secret_sha256) else None
        token = self._store.token(secret.secret_id)
        now_s = self._clock.now_s()
        if token is None or token.kind is not _KINDS[secret.kind] or not _in_force(token, now_s):
            return None
        if fits(secret, token.secret_sha256):
            self._touch(token, now_s)
        elif not (fits(secret, token.next_sha256) and self._end_rotation(token, secret, now_s)):
            return None
        return _owner(token)

    def _touch(self, token: TokenRow, now_s: float) -> None:
        if token.last_used_at_s is None or now_s - token.last_used_at_s >= TOUCH_S:
            self._store.touch_token(token.token_id, now_s=now_s)

    def _end_rotation(self, token: TokenRow, secret: Secret, now_s: float) -> bool:
        rotated = NewEvent(
            actor=_owner(token).actor,
            kind="credential.rotated",
            subject=f"appliance/{token.appliance_id}",
            reason="new-credential-used",
        )
        if self._store.end_rotation(token.token_id, used_sha256=secret.sha256, event=rotated, now_s=now_s):
            return True
        now = self._store.token(token.token_id)  # another node ended it in this moment, or it was revoked
        return now is not None and _in_force(now, now_s) and fits(secret, now.secret_sha256)


def _in_force(token: TokenRow, now_s: float) -> bool:
    return not token.is_revoked and (token.expires_at_s is None or now_s < token.expires_at_s)


def _joiner(join: JoinRow) -> Caller:
    return Caller(actor=f"join-token:{join.join_id}", join=join)


def _owner(token: TokenRow) -> Caller:
    if token.kind is TokenKind.APPLIANCE:
        return Caller(actor=f"appliance:{token.appliance_id}", appliance_id=token.appliance_id, token=token)
    return Caller(actor=f"operator:{token.name}", role=token.role, token=token)


class FailureCount:
    """Failed proofs of each client address in the last minute, in bounded memory."""

    def __init__(self, clock: Clock, most_per_window: int) -> None:
        self._clock = clock
        self._most = most_per_window
        self._counts: dict[str, int] = {}
        self._since_s = clock.monotonic_s()

    def is_over(self, address: str) -> bool:
        """Whether this address has used up its failures."""
        self._turn()
        return self._counts.get(network_of(address), 0) >= self._most

    def add(self, address: str) -> None:
        """Count one failure; the first one past the limit is logged."""
        self._turn()
        key = network_of(address)
        count = self._counts[key] = self._counts.get(key, 0) + 1
        if count == self._most:
            event(_log, "auth_failures", level=logging.WARNING, client=key, in_s=WINDOW_S, count=count)

    def _turn(self) -> None:
        now_s = self._clock.monotonic_s()
        if now_s - self._since_s >= WINDOW_S or len(self._counts) > MOST_ADDRESSES:
            self._counts.clear()
            self._since_s = now_s


def network_of(address: str) -> str:
    """The address, or its /64 for IPv6: one client may use every address of that."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    return str(ip_network((parsed, 64), strict=False)) if isinstance(parsed, IPv6Address) else str(parsed)
