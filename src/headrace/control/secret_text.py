"""Bearer secrets as text: hr<kind>_<id>_<secret>. The id finds the row; only the SHA-256 of the text is stored."""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from enum import StrEnum

_FORM = re.compile(r"hr([oasj])_([0-9a-f]{16})_[A-Za-z0-9_-]{43}")


class SecretKind(StrEnum):
    """The letter after `hr`, so that a person sees what a leaked text is good for."""

    OPERATOR = "o"
    APPLIANCE = "a"
    SESSION = "s"
    JOIN = "j"


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """A secret as its owner has it."""

    kind: SecretKind
    secret_id: str
    text: str

    def __repr__(self) -> str:
        return f"Secret({self.kind}, {self.secret_id})"

    @property
    def sha256(self) -> str:
        """What is stored of it."""
        return hashlib.sha256(self.text.encode("ascii")).hexdigest()


def new_secret(kind: SecretKind, secret_id: str | None = None) -> Secret:
    """Make a secret of 256 random bits, under a new id or one that exists (rotation)."""
    own_id = secret_id or secrets.token_hex(8)
    return Secret(kind=kind, secret_id=own_id, text=f"hr{kind}_{own_id}_{secrets.token_urlsafe(32)}")


def read_secret(text: str) -> Secret | None:
    """Read a secret's text; None when it does not have the form of one."""
    match = _FORM.fullmatch(text)
    return Secret(kind=SecretKind(match[1]), secret_id=match[2], text=text) if match else None


def fits(secret: Secret, stored_sha256: str | None) -> bool:
    """Compare in constant time; False where nothing is stored."""
    return hmac.compare_digest(secret.sha256, stored_sha256 or "-")
