"""Signing in with a browser, and out: the only routes that give or end a cookie."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import parse_qs, quote

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse

from cloud.api.answers import told_plainly
from cloud.api.auth import COOKIE, Person
from cloud.api.failed_tries import FailedTries
from cloud.api.limits import RequestLimits
from cloud.api.local import is_own_page
from cloud.api.people import People
from contract.errors import PlumblineError, RefusedError

_STATE_COOKIE = "plumbline_going"
_TROUBLES = {
    "empty": "Paste your token first.",
    "wrong": "This token is nobody's: it may be mistyped, expired or revoked. Whoever is admin makes another one with: "
    "plumbline-cloud token add NAME --role ROLE",
}
_MAX_FORM_BYTES = 4096
_MOST_NEXT_CHARS = 500


@dataclass(frozen=True, slots=True)
class SignInView:
    """What the sign-in page shows. `next_path` is where it leads; `trouble` what went wrong, "" for nothing."""

    next_path: str = "/"
    trouble: str = ""
    person: Person | None = None
    provider: bool = False


class Provider(Protocol):
    """An identity provider that people may sign in through."""

    def begin(self, next_path: str) -> tuple[str, str]:
        """Return where to send a browser, and the state by which it will be known again."""

    def finish(self, code: str, state: str, kept_state: str) -> tuple[Person, str]:
        """Return who came back, and the path that they wanted."""


def safe_next(path: str) -> str:
    """Return a path of this server to go on to: `path` where it is one, "/" for whatever could lead elsewhere."""
    plain = path.isascii() and path.isprintable() and len(path) <= _MOST_NEXT_CHARS
    # Browsers read "\" as "/", and "//host" as another server.
    if not plain or not path.startswith("/") or path.startswith("//") or "\\" in path or path.startswith("/sign-in"):
        return "/"
    return path


def set_session(response: Response, cookie: str, *, secure: bool) -> None:
    """Give a browser its session.

    SameSite is Lax and not Strict: who follows a notice's link from their chat is to see the page, and no GET changes anything.
    """
    response.set_cookie(COOKIE, cookie, path="/", httponly=True, samesite="lax", secure=secure)


def sign_in_routes(
    *,
    people: People,
    page: Callable[[SignInView], str],
    limits: RequestLimits,
    tries: FailedTries,
    provider: Provider | None = None,
) -> APIRouter:
    """Return the routes /sign-in and /sign-out. `page` draws the page."""
    routes = APIRouter(include_in_schema=False)

    def show(view: SignInView, code: int = 200, headers: dict[str, str] | None = None) -> HTMLResponse:
        return HTMLResponse(page(view), code, headers)

    @routes.get("/sign-in")
    def sign_in_page(
        request: Request,
        next: str = "/",
        trouble: str = "",
    ) -> HTMLResponse:
        cookie = request.cookies.get(COOKIE, "")
        with told_plainly():
            person = people.by_cookie(cookie) if cookie else None
        told = _TROUBLES.get(trouble, "")
        return show(SignInView(safe_next(next), told, person=person, provider=provider is not None))

    @routes.post("/sign-in")
    async def sign_in(request: Request) -> Response:
        _refuse_other_sites(request)
        form = await _form(request)
        token, onward = form.get("token", "").strip(), safe_next(form.get("next", "/"))
        view = SignInView(onward, provider=provider is not None)
        address = request.client.host if request.client else ""
        if not token:
            return _back("empty", onward)
        try:
            limits.check_tries(address, token)
        except HTTPException as error:
            return show(_told(view, f"{str(error.detail).capitalize()}."), 429, dict(error.headers or {}))
        with told_plainly():
            found = await run_in_threadpool(people.sign_in, token)
        limits.note_try(address, token, good=found is not None)
        if found is None:
            await run_in_threadpool(tries.add, address)
            return _back("wrong", onward)
        response = RedirectResponse(onward, 303)
        await _end_former(request, people)
        set_session(response, found[1], secure=request.url.scheme == "https")
        return response

    @routes.post("/sign-out")
    async def sign_out(request: Request) -> Response:
        _refuse_other_sites(request)
        await _end_former(request, people)
        response = RedirectResponse("/sign-in", 303)
        response.delete_cookie(COOKIE, path="/", httponly=True, samesite="lax")
        return response

    if provider is not None:
        _add_provider(routes, provider, people, tries, show)
    return routes


def _add_provider(
    routes: APIRouter, provider: Provider, people: People, tries: FailedTries, show: Callable[..., HTMLResponse]
) -> None:
    """Add the way to an identity provider and the way back."""

    @routes.get("/sign-in/provider")
    def leave(request: Request, next: str = "/") -> Response:
        onward = safe_next(next)
        try:
            where, state = provider.begin(onward)
        except PlumblineError as error:
            return show(SignInView(onward, error.one_line(), provider=True), 503)
        response = RedirectResponse(where, 303)
        # The provider's page leads back by a link of its own, with which a cookie comes that is not Strict.
        response.set_cookie(
            _STATE_COOKIE, state, max_age=600, path="/sign-in", httponly=True, samesite="lax",
            secure=request.url.scheme == "https",
        )  # fmt: skip
        return response

    @routes.get("/sign-in/provider/back")
    def come_back(request: Request, code: str = "", state: str = "", error: str = "") -> Response:
        kept, former = request.cookies.get(_STATE_COOKIE, ""), request.cookies.get(COOKIE, "")
        try:
            if error or not code:
                raise RefusedError(
                    "the identity provider did not let you in", hint="open the sign-in page and try again"
                )
            person, onward = provider.finish(code, state, kept)
        except PlumblineError as refused:
            if not refused.retry:
                tries.add(request.client.host if request.client else "")
            answer: Response = show(SignInView("/", refused.one_line(), provider=True), 503 if refused.retry else 403)
        else:
            if former:
                people.sign_out(former)
            answer = RedirectResponse(onward, 303)
            set_session(answer, people.sign_in_vouched(person)[1], secure=request.url.scheme == "https")
        answer.delete_cookie(_STATE_COOKIE, path="/sign-in", httponly=True, samesite="lax")
        return answer


def _back(trouble: str, onward: str) -> RedirectResponse:
    # To a page of its own and not as the form's answer: what was typed stays in no history, to be sent again by going back.
    return RedirectResponse(f"/sign-in?trouble={trouble}&next={quote(onward, safe='/')}", 303)


def _told(view: SignInView, trouble: str) -> SignInView:
    return SignInView(view.next_path, trouble, view.person, view.provider)


def _refuse_other_sites(request: Request) -> None:
    if not is_own_page(request.headers, request.url.scheme):
        why = "this form is no page's of this server; open its sign-in page and try again"
        # Else the page's own address and the one that comes here differ, and no page works.
        proxy = (
            "behind a proxy that passes Host on, start the server with FORWARDED_ALLOW_IPS set to the proxy's address"
        )
        raise HTTPException(403, f"{why} ({proxy})")


async def _end_former(request: Request, people: People) -> None:
    if cookie := request.cookies.get(COOKIE, ""):
        with told_plainly():
            await run_in_threadpool(people.sign_out, cookie)


async def _form(request: Request) -> dict[str, str]:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_FORM_BYTES:
            raise HTTPException(413, "this form may have at most 4 KiB")
    try:
        fields = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=8)
    except ValueError as error:
        raise HTTPException(422, "this form has too many fields") from error
    return {name: values[0] for name, values in fields.items()}
