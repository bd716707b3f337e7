"""Spans of what the cloud does with a traced frame, through OpenTelemetry (extra [otel]): its second opinion, and the commit of the
summary that tells of it. Which frames are traced is the station's choice; here only what comes with a trace is followed.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any

from cloud.ports.batch import Batch
from contract.errors import InvalidConfig

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_log = logging.getLogger(__name__)

QUEUE_SPANS = 2_048
_EXPORT_WITHIN_S = 5

# Version 00 of https://www.w3.org/TR/trace-context-1/#traceparent-header; an id of zeros is none.
_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}\Z")
_FALLBACK = re.compile(r"/v1/fallback/([A-Za-z0-9_.-]{1,63})\Z")


class Telemetry:
    """Makes spans and sends them to `endpoint` (OTLP over HTTP) from a thread of the SDK's, out of a queue with a limit."""

    def __init__(self, version: str, *, endpoint: str, exporter: SpanExporter | None = None) -> None:
        """`exporter`: where spans go, in the place of `endpoint`.

        Raises:
            InvalidConfig: OpenTelemetry is not installed.
        """
        try:
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError as error:
            hint = "pip install 'plumbline-edge[otel]', or take [trace] endpoint out of cloud.toml"
            raise InvalidConfig(f"[trace] needs OpenTelemetry: {error}", hint=hint) from error
        resource = Resource.create({"service.name": "plumbline-cloud", "service.version": version})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(
            BatchSpanProcessor(exporter or _otlp(endpoint), max_queue_size=QUEUE_SPANS, schedule_delay_millis=5_000)
        )
        self._tracer = self._provider.get_tracer("plumbline.cloud", version)

    def ingested(self, batch: Batch, began_at: float, ended_at: float) -> None:
        """Say of each traced summary in a batch when its commit began and ended, Unix seconds. Never raises."""
        for summary, _payload in batch.summaries:
            if summary.trace:
                header = summary.header
                attributes = {"plumbline.station": header.station, "plumbline.seq": header.seq}
                attributes |= {"plumbline.camera": header.camera, "plumbline.batch": len(batch.summaries)}
                try:
                    span = self._span("ingest", summary.trace, began_at, attributes)
                    if span is not None:
                        span.end(round(ended_at * 1e9))
                except Exception as error:  # noqa: BLE001 - what is measured must not suffer from being measured
                    _log.warning("the trace of a summary is lost: %s", error)

    def around(self, app: ASGIApp) -> ASGIApp:
        """Return `app` with a span for each second opinion that is asked for with a traceparent."""

        async def traced(scope: Scope, receive: Receive, send: Send) -> None:
            found = _FALLBACK.match(scope["path"]) if scope["type"] == "http" else None
            parent = dict(scope["headers"]).get(b"traceparent", b"").decode("latin-1") if found else ""
            span = self._span("fallback", parent, None, {"plumbline.station": found[1]}) if found and parent else None
            if span is None:
                await app(scope, receive, send)
                return

            async def noted(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                await send(message)

            try:
                await app(scope, receive, noted)
            finally:
                span.end()

        return traced

    def close(self) -> None:
        """Send what waits, for a few seconds at most."""
        self._provider.force_flush(_EXPORT_WITHIN_S * 1_000)
        self._provider.shutdown()

    def _span(self, name: str, traceparent: str, began_at: float | None, attributes: dict[str, Any]) -> Any:
        """Return a span below a station's; None where what it sent is no trace, or one that is not sampled."""
        from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

        if _TRACEPARENT.match(traceparent) is None:
            return None
        _version, trace, parent, flags = traceparent.split("-")
        if not int(flags, 16) & TraceFlags.SAMPLED:
            return None
        above = SpanContext(int(trace, 16), int(parent, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))
        start = None if began_at is None else round(began_at * 1e9)
        context = set_span_in_context(NonRecordingSpan(above))
        return self._tracer.start_span(name, context=context, start_time=start, attributes=attributes)


def _otlp(endpoint: str) -> SpanExporter:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(endpoint=endpoint, timeout=_EXPORT_WITHIN_S)
