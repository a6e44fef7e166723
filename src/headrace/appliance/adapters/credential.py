"""The appliance's credential, kept in a file that only the agent's user can read; never logged."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from headrace.appliance.errors import StateError
from headrace.wire.codec import decode, encode
from headrace.wire.errors import MalformedError
from headrace.wire.files import write_atomic


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """What proves to the control plane who we are."""

    token: str
    previous: str = ""
    """The one before the last rotation: it still works when the answer to the rotation was lost on the other side."""
    joined_by: str = ""
    """Digest of the join token that was used, so that a new one in the file is noticed."""


class CredentialFile:
    """state/credential.json, mode 0600."""

    def __init__(self, state: Path) -> None:
        self._path = state / "credential.json"

    def read(self) -> Credential | None:
        """The credential; None before enrolment.

        Raises:
            StateError: the file cannot be read.
        """
        try:
            return decode(Credential, self._path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, MalformedError) as error:
            raise StateError(f"cannot read {self._path}: {error}; remove it and enrol again") from None

    def write(self, credential: Credential) -> None:
        """Keep it durably, before it is used.

        Raises:
            StateError: the file cannot be written.
        """
        try:
            write_atomic(self._path, encode(credential), mode=0o600)
        except OSError as error:
            raise StateError(f"cannot write {self._path}: {error}") from None


def rotated(credential: Credential, token: str) -> Credential:
    """A credential after a rotation."""
    return replace(credential, token=token, previous=credential.token)


def swapped(credential: Credential) -> Credential:
    """Try the other of the two."""
    return replace(credential, token=credential.previous, previous=credential.token)


def read_join_token(path: str) -> str:
    """The join token in the file at `path`; '' when there is none.

    Raises:
        StateError: the file is there and cannot be read.
    """
    if not path:
        return ""
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise StateError(f"cannot read the join token file {path}: {error}") from None


def digest_of(token: str) -> str:
    """Tells two tokens apart without keeping either."""
    return hashlib.sha256(token.encode()).hexdigest()[:16]
