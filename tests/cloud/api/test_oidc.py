"""Signing in through an identity provider: a real one over HTTP, honest and lying."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import msgspec
import pytest

from cloud.api.auth import COOKIE, Person, Role
from cloud.api.people import People
from cloud.people_wiring import rules_in_words
from cloud.settings_operate import AuthSettings
from tests.cloud.api.conftest import serve
from tests.cloud.api.whole_app import WholeApp, bearer, open_whole_app
from tests.fakes.identity_provider import CLIENT, SECRET, IdentityProvider


@pytest.fixture(scope="module")
def provider() -> Iterator[IdentityProvider]:
    made = IdentityProvider()
    served = serve(made.app())
    made.url = next(served)
    yield made
    next(served, None)


@pytest.fixture(autouse=True)
def honest(provider: IdentityProvider) -> Iterator[None]:
    yield
    fresh = IdentityProvider(key=provider.key)
    provider.claims, provider.twist, provider.signer, provider.refuse = fresh.claims, fresh.twist, None, ""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, provider: IdentityProvider) -> Iterator[WholeApp]:
    folder = tmp_path_factory.mktemp("whole")
    secret = folder / "client.secret"
    secret.write_text(SECRET)
    config = (
        f'\n[auth]\noidc_issuer = "{provider.url}"\noidc_client_id = "{CLIENT}"\noidc_client_secret_file = "{secret}"\n'
        'oidc_roles = { "plant-admins" = "admin", "qa" = "engineer", "lookers" = "viewer" }\nfailures_per_minute = 10000\n'
    )
    yield from open_whole_app(folder, config)


@pytest.fixture
def browser(whole: WholeApp) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=whole.url, timeout=30) as client:
        yield client


def go(whole: WholeApp, browser: httpx.Client, onward: str = "/rollouts") -> httpx.Response:
    """Go to the provider and come back, as a browser does; return the answer to coming back."""
    away = browser.get("/sign-in/provider", params={"next": onward})
    assert away.status_code == 303, away.text
    back = httpx.get(away.headers["location"]).headers["location"]
    # It leads to the address that cloud.toml gives; the test serves on another port.
    parts = urlsplit(back)
    return browser.get(f"{parts.path}?{parts.query}")


def test_a_person_goes_there_and_comes_back_signed_in(
    whole: WholeApp, browser: httpx.Client, provider: IdentityProvider
) -> None:
    assert "Sign in with your account" in browser.get("/sign-in").text
    answer = go(whole, browser)
    assert (answer.status_code, answer.headers["location"]) == (303, "/rollouts")
    assert "HttpOnly" in answer.headers["set-cookie"]
    assert "signed in as eva (engineer)" in browser.get("/sign-in").text
    assert browser.get("/v1/review/x0/image").status_code == 404, "let in"
    assert httpx.get(f"{whole.url}/v1/me", headers=bearer(browser.cookies[COOKIE])).status_code == 401, (
        "no bearer token"
    )
    asked = provider.asked[-1]
    assert asked["code_challenge_method"] == "S256" and len(asked["state"]) >= 40 and len(asked["nonce"]) >= 40
    assert asked["redirect_uri"] == f"{whole.settings.api.url()}/sign-in/provider/back"
    acts = [(each.actor, each.act, each.detail) for each in whole.tables.audit.entries()]
    assert ("eva", "sign in", "engineer, by oidc") in acts


def test_the_first_role_in_the_tables_order_counts(
    whole: WholeApp, browser: httpx.Client, provider: IdentityProvider
) -> None:
    provider.claims["groups"] = ["lookers", "plant-admins", "x"]
    go(whole, browser)
    assert "eva (admin)" in browser.get("/sign-in").text
    provider.claims["groups"] = "lookers"
    go(whole, browser)
    assert "eva (viewer)" in browser.get("/sign-in").text


@pytest.mark.parametrize("groups", [[], ["strangers"], None, 7, {"qa": 1}, [["qa"]], "qa,lookers"])
def test_who_has_no_role_is_told_who_gives_one(
    whole: WholeApp, browser: httpx.Client, provider: IdentityProvider, groups: Any
) -> None:
    provider.claims["groups"] = groups
    answer = go(whole, browser)
    assert answer.status_code == 403 and "eva has no role here" in answer.text and "oidc_roles" in answer.text
    assert COOKIE not in browser.cookies


def _later(name: str, by: int) -> Callable[[dict[str, Any]], None]:
    def twist(claims: dict[str, Any]) -> None:
        claims[name] = int(time.time()) + by

    return twist


def _set(**values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda claims: claims.update(values)


def _without(name: str) -> Callable[[dict[str, Any]], None]:
    def twist(claims: dict[str, Any]) -> None:
        del claims[name]

    return twist


@pytest.mark.parametrize(
    "twist",
    [
        _set(iss="https://evil.example"), _without("iss"), _set(aud="another client"), _set(aud=[]), _without("aud"),
        _set(aud=[CLIENT, "another"], azp="another"), _set(aud=[CLIENT, "another"]), _later("exp", -120), _without("exp"),
        _later("iat", 3600), _later("nbf", 3600), _set(nonce="another"), _without("nonce"), _without("sub"),
        _set(at_hash="AAAAAAAAAAAAAAAAAAAAAA"), _set(exp="never"), _set(exp=None),
    ],
)  # fmt: skip
def test_a_token_that_says_the_wrong_thing_is_not_believed(
    whole: WholeApp, browser: httpx.Client, provider: IdentityProvider, twist: Callable[[dict[str, Any]], None]
) -> None:
    provider.twist = twist
    answer = go(whole, browser)
    assert answer.status_code == 403 and "is not believed" in answer.text
    assert COOKIE not in browser.cookies


@pytest.mark.parametrize("signer", ["unsigned", "by_public_key", "by_another_key", "torn", "empty"])
def test_a_token_that_the_provider_did_not_sign_is_not_believed(
    whole: WholeApp, browser: httpx.Client, provider: IdentityProvider, signer: str
) -> None:
    made = {
        "unsigned": provider.unsigned, "by_public_key": provider.by_public_key, "by_another_key": provider.by_another_key,
        "torn": lambda claims: provider.sign(claims)[:-9], "empty": lambda claims: "",
    }  # fmt: skip
    provider.signer = made[signer]
    answer = go(whole, browser)
    assert answer.status_code == 403 and "is not believed" in answer.text
    assert COOKIE not in browser.cookies


@pytest.mark.parametrize(
    "name", [None, "", 7, "plumbline", "Visitor", "operator", "<b>eva</b>", "eva\n", "e" * 121, "\u202eave"]
)
def test_a_name_that_is_none_signs_nobody_in(
    whole: WholeApp, browser: httpx.Client, provider: IdentityProvider, name: Any
) -> None:
    provider.claims["preferred_username"] = name
    answer = go(whole, browser)
    assert answer.status_code == 403 and "no name that can be used" in answer.text
    assert COOKIE not in browser.cookies


def test_an_answer_counts_once_and_for_the_browser_that_asked(
    whole: WholeApp, browser: httpx.Client, provider: IdentityProvider
) -> None:
    away = browser.get("/sign-in/provider").headers["location"]
    back = urlsplit(httpx.get(away).headers["location"])
    path = f"{back.path}?{back.query}"
    with httpx.Client(base_url=whole.url) as another:
        stolen = another.get(path)
        assert stolen.status_code == 403 and "did not begin" in stolen.text
        another.get("/sign-in/provider")
        assert "did not begin" in another.get(path).text
    kept = browser.cookies["plumbline_going"]
    assert browser.get(path).status_code == 303
    replayed = httpx.get(whole.url + path, cookies={"plumbline_going": kept})
    assert replayed.status_code == 403 and "is over" in replayed.text
    # The provider's code alone, with a sign-in of one's own: it was given for another state.
    code = parse_qs(back.query)["code"][0]
    with httpx.Client(base_url=whole.url) as another:
        state = parse_qs(urlsplit(another.get("/sign-in/provider").headers["location"]).query)["state"][0]
        assert another.get("/sign-in/provider/back", params={"code": code, "state": state}).status_code == 403
        assert COOKIE not in another.cookies


def test_a_refusal_there_and_coming_back_with_nothing_are_told(
    whole: WholeApp, browser: httpx.Client, provider: IdentityProvider
) -> None:
    provider.refuse = "access_denied"
    answer = go(whole, browser)
    assert answer.status_code == 403 and "did not let you in" in answer.text
    for query in ("", "?code=x", "?state=x&code=y", "?code=%00&state=%00", "?error=<script>"):
        answer = browser.get(f"/sign-in/provider/back{query}")
        assert answer.status_code == 403 and "<script>" not in answer.text


def test_the_way_on_is_this_servers(whole: WholeApp, browser: httpx.Client) -> None:
    assert go(whole, browser, "//evil.example").headers["location"] == "/"


def test_a_provider_that_calls_itself_otherwise_or_is_away_is_told(
    tmp_path_factory: pytest.TempPathFactory, provider: IdentityProvider
) -> None:
    common = f'oidc_client_id = "{CLIENT}"\noidc_roles = {{ "qa" = "viewer" }}\n'
    for issuer, told in ((f"{provider.url}/", "calls itself"), ("http://127.0.0.1:9", "does not answer")):
        config = f'\n[auth]\noidc_issuer = "{issuer}"\n{common}'
        opened = open_whole_app(tmp_path_factory.mktemp("other"), config)
        whole = next(opened)
        answer = httpx.get(f"{whole.url}/sign-in/provider")
        assert answer.status_code == 503 and told in answer.text
        assert httpx.post(f"{whole.url}/sign-in", data={"token": whole.operator}).status_code == 303
        next(opened, None)


def test_a_session_ends_when_the_rules_that_gave_its_role_are_others(
    whole: WholeApp, browser: httpx.Client, provider: IdentityProvider
) -> None:
    provider.claims["groups"] = "plant-admins"
    go(whole, browser)
    cookie = browser.cookies[COOKIE]

    def after(rules: AuthSettings) -> Person | None:
        return People(
            whole.tables.access, (), new_secret=lambda: "", session_s=1.0, now=time.time, monotonic=time.monotonic,
            provider=rules_in_words(rules),
        ).by_cookie(cookie)  # fmt: skip

    rules = whole.settings.auth
    assert after(rules) == Person("eva", Role.ADMIN), "a restart alone signs nobody out"
    for change in (
        {"oidc_roles": {"plant-admins": "viewer"}}, {"oidc_roles": dict(reversed(rules.oidc_roles.items()))},
        {"oidc_claim": "roles"}, {"oidc_name": "email"}, {"oidc_client_id": "x"}, {"oidc_issuer": "https://another.example"},
        {"oidc_issuer": ""},
    ):  # fmt: skip
        assert after(msgspec.structs.replace(rules, **change)) is None, change


@pytest.mark.slow
def test_a_provider_that_hangs_holds_no_threads_of_those_who_do_something_else(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=100) as deaf:
        issuer = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        config = f'\n[auth]\noidc_issuer = "{issuer}"\noidc_client_id = "x"\noidc_roles = {{ "qa" = "viewer" }}\n'
        opened = open_whole_app(tmp_path_factory.mktemp("deaf"), config)
        whole = next(opened)
        with ThreadPoolExecutor(60) as pool:
            asked = [pool.submit(httpx.get, f"{whole.url}/sign-in/provider", timeout=60) for _ in range(60)]
            wait(asked, 30.0, FIRST_COMPLETED)
            began = time.monotonic()
            assert httpx.get(f"{whole.url}/v1/me", headers=bearer(whole.operator), timeout=60).status_code == 200
            assert time.monotonic() - began < 9.0  # the provider is waited for during 10
            told = [each.result() for each in asked]
        assert {each.status_code for each in told} == {503}
        assert sum("others wait for it" in each.text for each in told) >= 40
        next(opened, None)
