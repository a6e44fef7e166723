"""Who may enter, as the store keeps it on SQLite and on PostgreSQL: operators, join tokens, credentials, sessions."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from headrace.control.model import (
    Enrolment,
    TokenKind,
    TokenRow,
)
from headrace.control.ports import Store
from headrace.control.testing import (
    make_appliance,
    make_site,
)
from headrace.control.testing_store import A1, NOTED, NOW_S, at_once, credential, enrolled, join_row
from headrace.fleet.model import (
    AdminState,
)
from headrace.wire.operator import Role


class TestTokens:
    def test_operators_tokens(self, store: Store) -> None:
        admin = TokenRow(
            token_id="t1",
            kind=TokenKind.OPERATOR,
            name="root",
            role=Role.ADMIN,
            secret_sha256="ab" * 32,
            created_at_s=NOW_S,
        )
        assert store.add_token(admin, only_first_admin=True, **NOTED)
        assert not store.add_token(replace(admin, token_id="t2"), only_first_admin=True, **NOTED)
        assert not store.add_token(admin, **NOTED)
        session = replace(admin, token_id="s1", kind=TokenKind.SESSION, parent_id="t1", expires_at_s=NOW_S + 9)
        assert store.add_token(session, event=None, now_s=NOW_S)
        assert store.tokens() == (admin,)
        store.touch_token("t1", now_s=NOW_S + 5)
        assert store.token("t1") == replace(admin, last_used_at_s=NOW_S + 5)
        assert store.revoke_token("t1", **NOTED)
        assert not store.revoke_token("t1", **NOTED)
        assert store.tokens() == ()
        kept = store.token("s1")
        assert kept is not None
        assert kept.is_revoked
        assert store.token("none") is None

    def test_one_first_admin_of_two_nodes(self, store: Store, other: Store) -> None:
        def add(node: Store, token_id: str) -> bool:
            admin = TokenRow(
                token_id=token_id,
                kind=TokenKind.OPERATOR,
                name="root",
                role=Role.ADMIN,
                secret_sha256="ab" * 32,
                created_at_s=NOW_S,
            )
            return node.add_token(admin, only_first_admin=True, **NOTED)

        assert sorted(at_once([lambda: add(store, "t1"), lambda: add(other, "t2")])) == [False, True]

    def test_rotation(self, store: Store) -> None:
        enrolled(store)
        assert store.start_rotation("cred-a1", next_sha256="11" * 32)
        assert store.start_rotation("cred-a1", next_sha256="22" * 32)
        assert not store.end_rotation("cred-a1", used_sha256="11" * 32, **NOTED)
        assert store.end_rotation("cred-a1", used_sha256="22" * 32, **NOTED)
        assert not store.end_rotation("cred-a1", used_sha256="22" * 32, **NOTED)
        kept = store.appliance_token(A1)
        assert kept is not None
        assert (kept.secret_sha256, kept.next_sha256, kept.rotated_at_s) == ("22" * 32, None, NOW_S)

    def test_a_join_token_needs_its_site(self, store: Store) -> None:
        assert not store.add_join_token(join_row(), **NOTED)
        store.put_site(make_site(), **NOTED)
        assert store.add_join_token(join_row(), **NOTED)
        assert store.join_token("j1") == join_row()
        assert store.join_token("none") is None

    def test_a_join_token_enrols_once(self, store: Store, other: Store) -> None:
        store.put_site(make_site(), **NOTED)
        store.add_join_token(join_row(), **NOTED)
        works: list[Callable[[], Any]] = [
            lambda i=i: (store, other)[i % 2].enrol(
                "j1", make_appliance(f"a{i}"), credential(f"c{i}", f"a{i}"), **NOTED
            )
            for i in range(6)
        ]
        outcomes = at_once(works)
        assert sorted(outcomes) == [Enrolment.DONE] + [Enrolment.TOKEN_SPENT] * 5
        assert len(store.fleet()) == 1

    def test_one_id_enrolled_twice_at_once(self, store: Store, other: Store) -> None:
        store.put_site(make_site(), **NOTED)
        for name in ("j1", "j2"):
            store.add_join_token(join_row(name), **NOTED)
        outcomes = at_once(
            [
                lambda: store.enrol("j1", make_appliance(), credential("c1"), **NOTED),
                lambda: other.enrol("j2", make_appliance(), credential("c2"), **NOTED),
            ]
        )
        assert sorted(outcomes) == [Enrolment.ALREADY_ENROLLED, Enrolment.DONE]

    def test_a_lost_answer_may_be_asked_again_until_the_credential_is_used(self, store: Store) -> None:
        enrolled(store)
        assert store.enrol("join-a1", make_appliance(), credential("again"), **NOTED) is Enrolment.DONE
        mine = store.appliance_token(A1)
        assert mine is not None
        assert mine.token_id == "again"
        stranger = store.enrol("join-a1", make_appliance("a2"), credential("c2", "a2"), **NOTED)
        assert stranger is Enrolment.TOKEN_SPENT
        store.touch_token("again", now_s=NOW_S)
        assert store.enrol("join-a1", make_appliance(), credential("third"), **NOTED) is Enrolment.TOKEN_SPENT

    def test_one_admin_stays_when_two_end_each_other(self, store: Store, other: Store) -> None:
        names = [f"{number:016x}" for number in range(6)]
        for name in names:
            admin = credential(name, kind=TokenKind.OPERATOR, role=Role.ADMIN, name=name, appliance_id=None)
            store.add_token(admin, event=None, now_s=NOW_S)
        works: list[Callable[[], Any]] = [
            lambda s=s, name=name: s.revoke_token(name, keeps_last_admin=True, **NOTED)
            for s, name in zip((store, other) * 3, names, strict=True)
        ]
        assert sorted(at_once(works)) == [False, True, True, True, True, True]
        assert len(store.tokens()) == 1
        assert store.revoke_token(store.tokens()[0].token_id, **NOTED)

    def test_no_session_is_opened_with_a_token_that_has_ended(self, store: Store) -> None:
        store.add_token(credential("op", kind=TokenKind.OPERATOR, role=Role.READ), event=None, now_s=NOW_S)
        session = credential("s1", kind=TokenKind.SESSION, role=Role.READ, parent_id="op")
        assert store.add_token(session, event=None, now_s=NOW_S)
        store.revoke_token("op", **NOTED)
        assert not store.add_token(replace(session, token_id="s2"), event=None, now_s=NOW_S)
        old = store.token("s1")
        assert old is not None
        assert old.is_revoked

    def test_a_revoked_credential_does_not_rotate(self, store: Store) -> None:
        enrolled(store)
        assert store.start_rotation("cred-a1", next_sha256="ef" * 32)
        store.revoke_token("cred-a1", **NOTED)
        assert not store.end_rotation("cred-a1", used_sha256="ef" * 32, **NOTED)

    def test_a_known_id_needs_a_token_bound_to_it(self, store: Store) -> None:
        enrolled(store)
        store.touch_token("cred-a1", now_s=NOW_S)
        store.change_appliance(make_appliance(admin_state=AdminState.DISABLED), expected_version=1, **NOTED)
        store.add_join_token(join_row("free"), **NOTED)
        assert store.enrol("free", make_appliance(), credential("c2"), **NOTED) is Enrolment.ALREADY_ENROLLED
        store.add_join_token(join_row("bound", appliance_id=A1), **NOTED)
        stranger = store.enrol("bound", make_appliance("a2"), credential("c3", "a2"), **NOTED)
        assert stranger is Enrolment.TOKEN_SPENT
        moved = make_appliance(content_url="http://192.0.2.99")
        assert store.enrol("bound", moved, credential("c4"), **NOTED) is Enrolment.DONE
        row = store.appliance(A1)
        assert row is not None
        assert row.appliance == replace(moved, admin_state=AdminState.DISABLED)
        old = store.token("cred-a1")
        assert old is not None
        assert old.is_revoked

    def test_other_refusals_of_enrolment(self, store: Store) -> None:
        store.put_site(make_site(), **NOTED)
        assert store.enrol("none", make_appliance(), credential(), **NOTED) is Enrolment.TOKEN_SPENT
        store.add_join_token(join_row(expires_at_s=NOW_S), **NOTED)
        assert store.enrol("j1", make_appliance(), credential(), **NOTED) is Enrolment.TOKEN_EXPIRED
        store.add_join_token(join_row("j2"), **NOTED)
        lost_site = make_appliance(site_id="gone")
        assert store.enrol("j2", lost_site, credential(), **NOTED) is Enrolment.NO_SUCH_SITE
        assert store.fleet() == ()
