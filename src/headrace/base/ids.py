"""Identifiers as own types, and the one place that says which texts are allowed."""

import re
from typing import NewType

from headrace.base.errors import InvalidIdError

SiteId = NewType("SiteId", str)
ApplianceId = NewType("ApplianceId", str)
TitleId = NewType("TitleId", str)
RenditionId = NewType("RenditionId", str)
Sha256 = NewType("Sha256", str)
"""64 lower-case hexadecimal digits: the name of a published file."""
FileNo = NewType("FileNo", int)
"""Dense number (1..2**32-1) that the control plane gives each published file, so that sets of files are bitmaps."""

NAME_FORM = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
"""A regular expression: site and appliance ids."""
_NAME = re.compile(NAME_FORM)
_TITLE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9])?")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def site_id(text: str) -> SiteId:
    """Check a site id: 1-63 lower-case letters, digits and inner hyphens (a DNS label)."""
    return SiteId(_checked(text, _NAME, "site id", "1-63 lower-case letters, digits, inner hyphens"))


def appliance_id(text: str) -> ApplianceId:
    """Check an appliance id; same form as a site id. It is also the pathway id that players see."""
    return ApplianceId(_checked(text, _NAME, "appliance id", "1-63 lower-case letters, digits, inner hyphens"))


def title_id(text: str) -> TitleId:
    """Check a title id: 1-128 letters, digits, inner dots, hyphens and underscores (safe in a URL path)."""
    if ".." in text:
        raise InvalidIdError(f"title id {text[:140]!r} must not hold two dots in a row")
    return TitleId(_checked(text, _TITLE, "title id", "1-128 letters, digits, inner . _ -"))


def sha256(text: str) -> Sha256:
    """Check the name of a file: 64 lower-case hexadecimal digits."""
    return Sha256(_checked(text, _SHA256, "file name", "64 lower-case hexadecimal digits"))


def _checked(text: str, pattern: re.Pattern[str], what: str, form: str) -> str:
    if not pattern.fullmatch(text):
        raise InvalidIdError(f"{what} {text[:140]!r} is not allowed: use {form}")
    return text
