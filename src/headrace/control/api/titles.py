"""Titles: register whole or not at all, list, withdraw."""

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Response

from headrace.base.ids import TitleId, title_id
from headrace.base.ids import sha256 as file_name
from headrace.catalog.model import check_title
from headrace.control.api.guard import GuardedRoute
from headrace.control.api.parts import Parts, WithCaller, WithParts, noted
from headrace.control.api.problems import Refusal, invalid, not_found
from headrace.control.checks import VERSIONS_END, check_storable, check_words
from headrace.control.model import StoredTitle, TitleConflict
from headrace.wire.operator import TitleRegistration, TitleView

router = APIRouter(route_class=GuardedRoute, tags=["titles"])

_MOST_FILE_BYTES = 2**53


@router.get("/v1/titles")
def list_titles(
    parts: WithParts,
    response: Response,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1_000,
    q: Annotated[str, Query(max_length=200, description="Words that must all be in id or name.")] = "",
    newest: Annotated[bool, Query(description="The newest first, instead of in order of id.")] = False,
) -> tuple[TitleView, ...]:
    """Titles in order of id; a `Link: <...>; rel="next"` header says that there are more."""
    start = None if after is None else TitleId(after)
    found = parts.store.titles(after=start, limit=limit + 1, find=q, is_newest_first=newest)
    page = found[:limit]
    if len(found) > limit:
        asked = {"after": page[-1].title.title_id, "limit": limit, **({"q": q} if q else {})}
        more = urlencode({**asked, "newest": "true"} if newest else asked)
        response.headers["link"] = f'</v1/titles?{more}>; rel="next"'
    return _views(parts, page)


@router.get("/v1/titles/{title_id}")
def show_title(parts: WithParts, title_id: str) -> TitleView:
    """One title."""
    found = parts.store.title(TitleId(title_id))
    if found is None:
        raise not_found(f"title {title_id}")
    return _views(parts, (found,))[0]


@router.put("/v1/titles/{title_id}")
def register_title(parts: WithParts, caller: WithCaller, title_id: str, asked: TitleRegistration) -> TitleView:
    """Make a title visible, whole: 409 unless `expected_version` is the version that is there (0: none)."""
    title = asked.title
    if title.title_id != title_id:
        raise invalid(f"the body is title {title.title_id!r}, the path says {title_id!r}")
    _check(asked)
    verb = "published" if asked.expected_version == 0 else "replaced"
    detail = f"{len(title.renditions)} renditions, {len(title.files)} files"
    happened = noted(caller, f"title.{verb}", f"title/{title_id}", "registered-whole", detail)
    now_s = parts.clock.now_s()
    outcome = parts.store.register_title(title, expected_version=asked.expected_version, event=happened, now_s=now_s)
    if isinstance(outcome, TitleConflict):
        there = f"version {outcome.current_version}" if outcome.current_version else "not there"
        expected = asked.expected_version or "none"
        raise Refusal(409, "conflict", f"title {title_id} is {there}; the expected version was {expected}")
    return _views(parts, (outcome,))[0]


@router.delete("/v1/titles/{title_id}", status_code=204)
def withdraw_title(parts: WithParts, caller: WithCaller, title_id: str) -> None:
    """Make a title invisible; appliances drop its files with their next plans."""
    happened = noted(caller, "title.withdrawn", f"title/{title_id}", "operator-asked")
    if not parts.store.withdraw_title(TitleId(title_id), event=happened, now_s=parts.clock.now_s()):
        raise not_found(f"title {title_id}")


def _check(asked: TitleRegistration) -> None:
    title = asked.title
    title_id(title.title_id)
    check_words("title.name", title.name, most=500, may_be_empty=True)
    if not 0 <= asked.expected_version < VERSIONS_END:
        raise invalid("expected_version: use 0 or the version that is there")
    for file in title.files:
        file_name(file.sha256)
        if not 0 < file.size_bytes < _MOST_FILE_BYTES:
            raise invalid(f"file {file.sha256}: size_bytes {file.size_bytes} is out of range")
        check_words("rendition_id", file.rendition_id, most=128)
    check_storable(f"title {title.title_id}", title)
    if len({file.sha256 for file in title.files}) != len(title.files):
        raise invalid("a file is named twice")
    check_title(title)


def _views(parts: Parts, stored: tuple[StoredTitle, ...]) -> tuple[TitleView, ...]:
    return tuple(
        TitleView(
            title=one.title,
            version=one.version,
            published_at_s=one.published_at_s,
            size_bytes=one.size_bytes,
            holders=holders,
        )
        for one, holders in zip(stored, parts.holders.count_of(stored), strict=True)
    )
