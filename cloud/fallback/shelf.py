"""The models that second opinions come from: loaded on threads of their own, so that whoever has theirs already goes on."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from cloud.ports.registry import FullPrecision, SecondModel
from contract.errors import DeadlinePassed, NotFound, PlumblineError, TransientError

_log = logging.getLogger(__name__)

# Stations run the running version and, during a rollout, the one before; deferred questions may be about one older still.
_KEPT = 3
_LOADERS = 4
# A model that does not load is not tried again for so long, and a bundle nobody knows not looked up.
_REST_S = 10.0
_MOST_REMEMBERED = 64


@dataclass(slots=True)
class _Kept:
    model: SecondModel
    used_at: float = 0.0
    urgent_at: float = 0.0


class Shelf:
    """Keeps the last models asked for. One event loop's; `on_loaded` and `on_gone` are told of each in it."""

    def __init__(
        self,
        models: FullPrecision,
        now: Callable[[], float],
        *,
        on_loaded: Callable[[str, SecondModel], None] = lambda _bundle, _model: None,
        on_gone: Callable[[str], None] = lambda _bundle: None,
    ) -> None:
        self._models, self._now = models, now
        self._on_loaded, self._on_gone = on_loaded, on_gone
        self._kept: dict[str, _Kept] = {}
        self._loading: dict[str, asyncio.Task[SecondModel]] = {}
        self._failed: OrderedDict[str, tuple[float, PlumblineError]] = OrderedDict()
        self._loaders = ThreadPoolExecutor(_LOADERS, "second model")

    async def get(self, bundle: str, until: float, *, deferred: bool) -> SecondModel:
        """Return the model behind `bundle`; one that is not here is loaded, and waited for until `until`.

        Raises:
            NotFound: there is none.
            TransientError: it does not load, or not by then.
        """
        kept = self._kept.get(bundle)
        if kept is None:
            kept = _Kept(await self._fetched(bundle, until))
            kept = self._kept.get(bundle, kept)
        now = self._now()
        kept.used_at, kept.urgent_at = now, kept.urgent_at if deferred else now
        return kept.model

    def close(self) -> None:
        """Load nothing any more."""
        self._loaders.shutdown(wait=False, cancel_futures=True)

    async def _fetched(self, bundle: str, until: float) -> SecondModel:
        rests_until, error = self._failed.get(bundle, (0.0, None))
        if error is not None and self._now() < rests_until:
            raise error
        task = self._loading.get(bundle)
        if task is None:
            if len(self._loading) >= _LOADERS:
                raise TransientError("other models are being loaded", hint="ask again later")
            task = self._loading[bundle] = asyncio.create_task(self._load(bundle))
            # Nobody may wait for it any more when it fails.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            return await asyncio.wait_for(asyncio.shield(task), max(until - self._now(), 0.0))
        except asyncio.TimeoutError as late:
            raise DeadlinePassed("the model is being loaded", hint="ask again in a moment") from late

    async def _load(self, bundle: str) -> SecondModel:
        try:
            model = await asyncio.get_running_loop().run_in_executor(self._loaders, self._models.load, bundle)
        except Exception as error:
            trouble = error if isinstance(error, NotFound | TransientError) else _not_loaded(bundle, error)
            self._failed[bundle] = (self._now() + _REST_S, trouble)
            self._failed.move_to_end(bundle)
            while len(self._failed) > _MOST_REMEMBERED:
                self._failed.popitem(last=False)
            raise trouble from error
        finally:
            del self._loading[bundle]
        self._failed.pop(bundle, None)
        self._kept[bundle] = _Kept(model, self._now())
        while len(self._kept) > _KEPT:
            # What lines ask stays before what is only asked later.
            oldest = min((each for each in self._kept if each != bundle), key=self._last_use)
            del self._kept[oldest]
            self._on_gone(oldest)
        self._on_loaded(bundle, model)
        return model

    def _last_use(self, bundle: str) -> tuple[float, float]:
        return self._kept[bundle].urgent_at, self._kept[bundle].used_at


def _not_loaded(bundle: str, error: Exception) -> TransientError:
    _log.error("the model behind bundle %s does not load: %s", bundle[:12], error)
    return TransientError(f"the full-precision model behind bundle '{bundle[:12]}' does not load: {error}"[:300])
