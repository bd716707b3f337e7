"""The local API's addresses: a request to its response. No socket is known here.

POST /v1/infer                  image -> verdict by the bundle in charge, `also` more defects; not recorded, not at the line's cost
GET  /v1/status                 what `plumbline-agent status --json` prints
GET  /v1/decisions/{id}         one verdict with all its provenance (P9), and the second opinion that came later, if any
GET  /v1/decisions?part=&limit= the newest verdicts, of one part or of all
GET  /healthz                   200 while frames get through and are stored, else 503 with the reason
GET  /metrics                   Prometheus text
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs

import msgspec

from agent.api.decisions import MAX_ROWS, Decisions
from agent.api.exchange import Request, Response, error_response, json_response
from agent.api.exposition import CONTENT_TYPE
from agent.api.provenance import Manifests, provenance
from agent.decide.causes import Cause
from agent.ports.local_view import ImageJudge, StationView
from contract.errors import BadImage, PlumblineError, TransientError
from contract.messages import Verdict

_ID = re.compile(r"/v1/decisions/([0-9]{1,18})")
_MAX_PART_CHARS = 1024
_AGAIN = {"Retry-After": "1"}


class Routes:
    """Answers requests; used by several threads.

    `line_is_pressed` says that the line needs the processor for itself: /v1/infer then refuses instead of competing.
    """

    def __init__(
        self,
        view: StationView,
        decisions: Decisions,
        manifests: Manifests,
        judge: ImageJudge,
        line_is_pressed: Callable[[], bool],
    ) -> None:
        self._view = view
        self._decisions = decisions
        self._manifests = manifests
        self._judge = judge
        self._line_is_pressed = line_is_pressed
        self._one_image = threading.Lock()
        self._lock = threading.Lock()
        self.answered: Counter[tuple[str, int]] = Counter()
        """Requests by (address, status code)."""

    def answer(self, request: Request) -> Response:
        """Return the response; a fault of the station is 503, a fault of the client 4xx, both with their reason."""
        name, handler = self._route(request)
        try:
            response = handler(request)
        except TransientError as error:
            response = error_response(503, error.message, error.hint, **_AGAIN)
        except PlumblineError as error:
            response = error_response(503, error.message, error.hint)
        with self._lock:
            self.answered[name, response.code] += 1
        return response

    def _route(self, request: Request) -> tuple[str, Callable[[Request], Response]]:
        simple = {
            "/v1/infer": ("POST", self._infer),
            "/v1/status": ("GET", self._status),
            "/v1/decisions": ("GET", self._of_part),
            "/healthz": ("GET", self._health),
            "/metrics": ("GET", self._metrics),
        }
        path = request.path
        method, handler = simple.get(path, ("GET", self._find if _ID.fullmatch(path) else self._unknown))
        name = path if path in simple else "/v1/decisions/{id}" if path.startswith("/v1/decisions/") else "other"
        if request.method != method and handler != self._unknown:
            return name, lambda _request: error_response(405, f"{path} takes {method}", Allow=method)
        return name, handler

    def _unknown(self, request: Request) -> Response:
        if request.path.startswith("/v1/decisions/"):
            return error_response(404, "a decision's id is a whole number")
        return error_response(404, "there is no such address", "/v1/infer /v1/status /v1/decisions /healthz /metrics")

    def _status(self, _request: Request) -> Response:
        return json_response(200, self._view.status())

    def _find(self, request: Request) -> Response:
        match = _ID.fullmatch(request.path)
        row = self._decisions.find(int(match[1])) if match else None
        if row is None:
            return error_response(404, "no such decision is kept", "GET /v1/decisions lists the newest")
        # Beside the verdict, never in its place: the line has long acted on that.
        later = {"second_opinion": self._decisions.opinion_of(row["id"])}
        return json_response(200, {"station": self._view.station, **provenance(row, self._manifests), **later})

    def _of_part(self, request: Request) -> Response:
        try:
            asked = parse_qs(request.query, keep_blank_values=True, max_num_fields=8, errors="strict")
        except ValueError:
            return error_response(400, "the query is no text")
        unknown = sorted(set(asked) - {"part", "limit"})
        if unknown:
            return error_response(400, f"'{unknown[0][:40]}' is nothing to ask for", "part and limit are")
        part, limit = asked.get("part", [None])[-1], asked.get("limit", ["20"])[-1]
        if part is not None and len(part) > _MAX_PART_CHARS:
            return error_response(400, f"no part's id is over {_MAX_PART_CHARS} characters")
        if not (limit.isascii() and limit.isdigit() and 1 <= len(limit) <= 6 and 1 <= int(limit) <= MAX_ROWS):
            return error_response(400, f"limit must be 1 to {MAX_ROWS}")
        rows = self._decisions.of_part(part, int(limit))
        return json_response(200, {"station": self._view.station, "decisions": rows})

    def _health(self, _request: Request) -> Response:
        reason = self._view.why_unhealthy()
        body: dict[str, Any] = {"ok": not reason, "station": self._view.station, "simulated": self._view.simulated}
        if reason:
            body["reason"] = reason
        # Said beside it: a station that the broker shuts out decides as ever, and restarting it would help nobody.
        if uplink := self._view.uplink_trouble():
            body["uplink"] = uplink
        if controller := self._view.controller_trouble():
            body["controller"] = controller
        return json_response(503 if reason else 200, body)

    def _metrics(self, _request: Request) -> Response:
        with self._lock:
            answered = sorted(self.answered.items())
        lines = [
            "# HELP plumbline_api_requests_total Requests to the local API by address and status code.",
            "# TYPE plumbline_api_requests_total counter",
            *(
                f'plumbline_api_requests_total{{address="{address}",code="{code}"}} {n}'
                for (address, code), n in answered
            ),
        ]
        text = self._view.metrics() + "\n".join(lines) + "\n"
        return Response(200, text.encode(), CONTENT_TYPE)

    def _infer(self, request: Request) -> Response:
        bundle = self._view.in_charge()
        if bundle is None:
            return self._review(503, "no_model", "no bundle is in charge", "install one")
        if not request.body:
            return self._review(422, "bad_image", "the body is empty", "send the bytes of one image file")
        if self._line_is_pressed():
            return self._review(503, "late", "the line needs the processor for itself", "ask again later", **_AGAIN)
        # One at a time, and no queue: a queue would only hide that the device has no time for more.
        if not self._one_image.acquire(blocking=False):
            return self._review(429, "late", "another image is being judged", "ask again", **_AGAIN)
        try:
            judged = self._judge.judge(bundle, request.body)
        except BadImage as error:
            return self._review(422, "bad_image", error.message, error.hint)
        except PlumblineError as error:
            return self._review(503, "broken_model", error.message, error.hint, **_AGAIN)
        finally:
            self._one_image.release()
        if judged.verdict == Verdict.PASS.value and self._view.why_void():
            # Whichever camera it came from: here nobody knows.
            judged = replace(judged, verdict=Verdict.REVIEW.value, cause=Cause.DRIFTED.value)
        manifest = bundle.manifest
        about = {
            "bundle": bundle.digest,
            "model": f"{manifest.name} {manifest.version}",
            "simulated_model": manifest.simulated,
            "recorded": False,
        }
        return json_response(200, msgspec.to_builtins(judged) | about)

    def _review(self, code: int, cause: str, error: str, hint: str = "", **headers: str) -> Response:
        """Return an error that can still be obeyed: what could not be judged is for a person (P6)."""
        body = {"verdict": Verdict.REVIEW.value, "cause": cause, "error": error, "hint": hint, "recorded": False}
        return json_response(code, body, **headers)
