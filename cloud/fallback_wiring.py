"""What gives second opinions, put together."""

from __future__ import annotations

import os
from collections.abc import Callable

from cloud.api.images import count_pixels, read_pixels
from cloud.clock import SystemClock
from cloud.fallback.service import FallbackService
from cloud.registry.full_precision import FullPrecisionModels
from cloud.registry.release import Registry
from cloud.settings_operate import FallbackSettings


def make_opinions(
    settings: FallbackSettings, registry: Registry, clock: SystemClock, on_asked: Callable[[str, str, int], None]
) -> FallbackService:
    """Return what answers stations' questions by the models of `registry`; `on_asked` as for the service."""
    return FallbackService(
        FullPrecisionModels(registry),
        read_pixels,
        count_pixels,
        clock.monotonic,
        workers=settings.workers or max(1, len(os.sched_getaffinity(0)) - 1),
        max_batch=settings.max_batch,
        max_wait_s=settings.max_wait_ms / 1e3,
        deadline_s=settings.deadline_ms / 1e3,
        max_bytes=int(settings.max_waiting_mib * (1 << 20)),
        on_asked=on_asked,
    )
