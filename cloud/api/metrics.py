"""GET /metrics: what Prometheus reads of the server and of the fleet. Names: docs/metrics.md.

It takes a token that may look at the fleet (a viewer's, say: `authorization` in prometheus.yml), or none on the server's own
machine where [auth] open_on_loopback lets anybody there look.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from fastapi import APIRouter, Depends, Response
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloud.api.auth import Guards
from cloud.api.auth import Scope as May
from cloud.ports.figures import Family, Figures
from contract.errors import TransientError

_log = logging.getLogger(__name__)

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """The server's registry: its own, so that nothing that a library counts elsewhere is shown."""

    def __init__(self, parts: Sequence[Figures]) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._one_at_a_time = threading.Lock()
        what = "Requests answered, by method, route and status."
        labels = ("method", "route", "code")
        self._requests = Counter("plumbline_cloud_http_requests_total", what, labels, registry=self._registry)
        what = "Seconds to the end of an answer, by route."
        self._seconds = Histogram(
            "plumbline_cloud_http_request_seconds", what, ("route",), buckets=_SECONDS, registry=self._registry
        )
        self._registry.register(_Parts(parts))

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        with self._one_at_a_time:
            return generate_latest(self._registry)

    def answered(self, method: str, route: str, code: int, took_s: float) -> None:
        """Count one request."""
        self._requests.labels(method, route, str(code)).inc()
        self._seconds.labels(route).observe(took_s)


def metrics_routes(guards: Guards, metrics: Metrics) -> APIRouter:
    """Return GET /metrics."""
    routes = APIRouter(tags=["server"])

    @routes.get(
        "/metrics",
        dependencies=[Depends(guards.needs(May.READ, from_pages=True, lately=True))],
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}, "description": "Prometheus' text format"}},
    )
    def scrape() -> Response:
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    return routes


class RequestMeter:
    """Counts what the application answers, by route and not by address: a fleet has ten thousand of those."""

    def __init__(self, app: ASGIApp, answered: Callable[[str, str, int, float], None]) -> None:
        self._app, self._answered = app, answered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and count it when it ends."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, code = time.perf_counter(), 500

        async def noting(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            self._answered(_method(scope), _route(scope), code, time.perf_counter() - began)


def _route(scope: Scope) -> str:
    path = getattr(scope.get("route"), "path", "")
    if path:
        return str(path)
    return "/_nicegui" if str(scope.get("path", "")).startswith("/_nicegui") else "(none)"


def _method(scope: Scope) -> str:
    method = str(scope.get("method", ""))
    return method if method in ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH") else "(other)"


class _Parts(Collector):
    def __init__(self, parts: Sequence[Figures]) -> None:
        self._parts = parts

    def collect(self) -> Iterable[Any]:
        """Return every part's families; what cannot be read now is left out, and said to be."""
        readable = True
        for part in self._parts:
            try:
                yield from map(_family, list(part.families()))
            except TransientError as error:
                readable = False
                _log.warning("some metrics cannot be read: %s", error.one_line())
        what = "0: some of what the tables say is missing from this answer."
        yield GaugeMetricFamily("plumbline_cloud_readable", what, value=float(readable))


def _family(family: Family) -> Any:
    names = sorted(family.samples[0][0]) if family.samples else []
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    made = kind(family.name, family.what, labels=names)
    for labels, value in family.samples:
        made.add_metric([labels[name] for name in names], value)
    return made
