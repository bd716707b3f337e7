"""Spans of frames through OpenTelemetry (extra [otel]); a station without it, or without [trace] endpoint, traces nothing.

A frame is drawn by chance before it is judged, so that what is traced is a fair sample. Spans are exported from a thread of the
SDK's, from a queue with a limit: a collector that is slow or away costs the spans, never a frame.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from agent.ports.recorder import Result
from agent.ports.source import Frame
from agent.ports.tracing import FrameSpan
from contract.errors import InvalidConfig

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import Span
    from opentelemetry.sdk.trace.export import SpanExporter

_log = logging.getLogger(__name__)

QUEUE_SPANS = 512
"""Spans that may wait for the collector; what comes beyond it is dropped by the SDK."""

_EXPORT_EVERY_MS = 5_000
_EXPORT_WITHIN_S = 5


class Telemetry:
    """Makes spans for `station`; `close` sends what waits and ends the thread.

    Args:
        share: of frames that are traced, 0..1.
        roll: draws uniformly from [0, 1).
        exporter: where spans go, in the place of OTLP over HTTP to `endpoint`.
    """

    def __init__(
        self,
        station: str,
        version: str,
        *,
        endpoint: str,
        share: float,
        roll: Callable[[], float],
        exporter: SpanExporter | None = None,
    ) -> None:
        """
        Raises:
            InvalidConfig: OpenTelemetry is not installed.
        """
        try:
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError as error:
            hint = "pip install 'plumbline-edge[otel]', or take [trace] endpoint out of agent.toml"
            raise InvalidConfig(f"[trace] needs OpenTelemetry: {error}", hint=hint) from error
        resource = Resource.create(
            {"service.name": "plumbline-agent", "service.version": version, "service.instance.id": station}
        )
        # Its own, and not the process's global one; it does not end the process's shutdown by itself either.
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(
            BatchSpanProcessor(
                exporter or _otlp(endpoint), max_queue_size=QUEUE_SPANS, schedule_delay_millis=_EXPORT_EVERY_MS
            )
        )
        self._tracer = self._provider.get_tracer("plumbline.agent", version)
        self._share, self._roll = share, roll

    def begin(self, frame: Frame, camera: str) -> FrameSpan | None:
        """Return a span that began when `frame` was captured; None where it is not drawn (`agent.ports.tracing.BeginSpan`)."""
        if self._roll() >= self._share:
            return None
        attributes = {"plumbline.camera": camera, "plumbline.part": frame.part[:120]}
        try:
            began_ns = round(frame.captured_at * 1e9)
            span: Any = self._tracer.start_span("frame", start_time=began_ns, attributes=attributes)
        except Exception as error:  # noqa: BLE001 - what is measured must not suffer from being measured
            _log.warning("a frame is not traced: %s", error)
            return None
        return _Traced(span)

    def close(self) -> None:
        """Send what waits, for a few seconds at most."""
        self._provider.force_flush(_EXPORT_WITHIN_S * 1_000)
        self._provider.shutdown()


class _Traced:
    """`agent.ports.tracing.FrameSpan`."""

    __slots__ = ("_span",)

    def __init__(self, span: Span) -> None:
        self._span = span

    @property
    def traceparent(self) -> str:
        """Source: https://www.w3.org/TR/trace-context-1/#traceparent-header."""
        context = self._span.get_span_context()
        assert context is not None
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"

    def end(self, result: Result) -> None:
        """Never raises: what is measured must not harm what is measured."""
        try:
            self._span.set_attributes(
                {
                    "plumbline.verdict": result.verdict,
                    "plumbline.cause": result.cause,
                    "plumbline.label": result.label,
                    "plumbline.confidence": result.confidence,
                    "plumbline.bundle": result.bundle,
                    "plumbline.asked_cloud": result.asked_cloud,
                    "plumbline.cloud_answer": result.cloud_answer,
                }
            )
            self._span.end(round((result.captured_at + result.latency_ms / 1e3) * 1e9))
        except Exception as error:  # noqa: BLE001
            _log.warning("a frame's trace is lost: %s", error)


def _otlp(endpoint: str) -> SpanExporter:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(endpoint=endpoint, timeout=_EXPORT_WITHIN_S)
