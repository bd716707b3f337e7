"""Tokens and sessions on both engines."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud.store.access import fingerprint
from contract.errors import NotFound, RefusedError
from tests.fakes.cloud_tables import T0, Tables


def test_a_token_is_known_by_its_hash_alone(tables: Tables) -> None:
    number = tables.access.add_token("secret", "eva", "engineer", "operator", T0, T0 + 10)
    found = tables.access.token("secret", T0)
    assert found is not None and (found.id, found.person, found.role, found.made_by) == (
        number, "eva", "engineer", "operator",
    )  # fmt: skip
    assert tables.access.token("Secret", T0) is None
    with tables.database.read() as connection:
        rows = [dict(row._mapping) for row in connection.exec_driver_sql("SELECT * FROM access_tokens")]
    assert rows[0]["sha256"] == fingerprint("secret") and "secret" not in {str(value) for value in rows[0].values()}
    with pytest.raises(RefusedError):
        tables.access.add_token("secret", "max", "viewer", "operator", T0, None)
    assert [each.person for each in tables.access.tokens()] == ["eva"]


def test_a_token_ends_when_it_expires_or_is_revoked(tables: Tables) -> None:
    first = tables.access.add_token("a", "eva", "viewer", "operator", T0, T0 + 10)
    second = tables.access.add_token("b", "eva", "viewer", "operator", T0, None)
    assert tables.access.token("a", T0 + 9.9) is not None and tables.access.token("a", T0 + 10) is None
    assert tables.access.token("b", T0 + 1e9) is not None
    tables.access.revoke(second, "ida", T0 + 5)
    tables.access.revoke(second, "ida", T0 + 6)
    assert tables.access.token("b", T0 + 5) is None
    assert [each.revoked_at for each in tables.access.tokens()] == [None, T0 + 5]
    assert [(e.actor, e.act, e.detail) for e in tables.audit.entries()] == [
        ("operator", "token made", f"{first}: eva, viewer"),
        ("operator", "token made", f"{second}: eva, viewer"),
        ("ida", "token revoked", f"{second}: eva, viewer"),
    ]
    assert tables.audit.first_broken() is None
    with pytest.raises(NotFound):
        tables.access.revoke(99, "ida", T0)


def test_a_session_ends_with_its_token_its_time_or_a_word(tables: Tables) -> None:
    number = tables.access.add_token("t", "eva", "engineer", "operator", T0, T0 + 50)
    for name, token in (("a", number), ("b", None), ("c", None)):
        tables.access.begin_session(name, "eva", "engineer", token, "token", T0, T0 + 100)
    assert [tables.access.session(name, T0 + 49) is not None for name in "abc"] == [True] * 3
    assert [tables.access.session(name, T0 + 50) is not None for name in "abc"] == [False, True, True]
    assert tables.access.session("b", T0 + 100) is None
    (open_b,) = [each for each in tables.access.sessions(T0) if each.id == fingerprint("b")[:16]]
    tables.access.end_session(open_b.id, "ida", T0 + 1)
    tables.access.sign_out("c", T0 + 2)
    tables.access.sign_out("c", T0 + 3)
    tables.access.sign_out("nobody's", T0 + 3)
    assert [each.token for each in tables.access.sessions(T0 + 4)] == [number]
    tables.access.revoke(number, "ida", T0 + 4)
    assert tables.access.sessions(T0 + 4) == []
    with pytest.raises(NotFound):
        tables.access.end_session(open_b.id, "ida", T0 + 5)
    ends = [(e.actor, e.act) for e in tables.audit.entries() if e.act in ("session ended", "sign out", "token revoked")]
    assert ends == [("ida", "session ended"), ("eva", "sign out"), ("ida", "token revoked")]


def test_sessions_that_are_long_over_are_forgotten(tables: Tables) -> None:
    day = 86_400.0
    tables.access.begin_session("old", "eva", "viewer", None, "oidc", T0, T0 + day)
    tables.access.begin_session("later", "eva", "viewer", None, "oidc", T0 + 20 * day, T0 + 21 * day)
    tables.access.begin_session("new", "eva", "viewer", None, "oidc", T0 + 40 * day, T0 + 41 * day)
    with tables.database.read() as connection:
        kept = connection.exec_driver_sql("SELECT count(*) FROM sessions").scalar()
    assert kept == 2


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=300))
def test_no_text_breaks_the_look_up(tables: Tables, secret: str) -> None:
    assert tables.access.token(secret, T0) is None and tables.access.session(secret, T0) is None
    tables.access.sign_out(secret, T0)
