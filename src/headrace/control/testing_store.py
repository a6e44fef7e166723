"""Rows and threads for tests of the store port."""

import threading
from collections.abc import Callable
from typing import Any

from headrace.base.errors import HeadraceError
from headrace.base.ids import ApplianceId, SiteId, TitleId
from headrace.control.model import (
    Enrolment,
    JoinRow,
    TokenKind,
    TokenRow,
)
from headrace.control.ports import Store
from headrace.control.testing import (
    A_REASON,
    make_appliance,
    make_site,
)

NOW_S = 1_800_000_000.0
A1 = ApplianceId("a1")
SITE = SiteId("site-a")
FILM = TitleId("film")
NOTED: dict[str, Any] = {"event": A_REASON, "now_s": NOW_S}


def credential(credential_id: str = "c1", appliance_id: str = "a1", **fields: Any) -> TokenRow:
    """An appliance's credential."""
    base: dict[str, Any] = {
        "token_id": credential_id,
        "kind": TokenKind.APPLIANCE,
        "name": appliance_id,
        "secret_sha256": "ab" * 32,
        "created_at_s": NOW_S,
        "appliance_id": ApplianceId(appliance_id),
    }
    return TokenRow(**{**base, **fields})


def join_row(join_id: str = "j1", **fields: Any) -> JoinRow:
    """A join token for the site of `make_site`."""
    base: dict[str, Any] = {
        "join_id": join_id,
        "secret_sha256": "cd" * 32,
        "site_id": SITE,
        "appliance_id": None,
        "expires_at_s": NOW_S + 60,
    }
    return JoinRow(**{**base, **fields})


def enrolled(store: Store, appliance_id: str = "a1") -> None:
    """Put the site in, and an appliance as its join token lets it."""
    store.put_site(make_site(), **NOTED)
    store.add_join_token(join_row(f"join-{appliance_id}"), **NOTED)
    outcome = store.enrol(
        f"join-{appliance_id}",
        make_appliance(appliance_id),
        credential(f"cred-{appliance_id}", appliance_id),
        **NOTED,
    )
    assert outcome is Enrolment.DONE


def at_once(works: list[Callable[[], Any]]) -> list[Any]:
    """Run all in threads that start together; results in their order, our own errors among them."""
    barrier = threading.Barrier(len(works))
    results: list[Any] = [None] * len(works)

    def run(index: int) -> None:
        barrier.wait(10)
        try:
            results[index] = works[index]()
        except HeadraceError as error:
            results[index] = error

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results
