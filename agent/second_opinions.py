"""The thread that asks for second opinions after the verdict, at the pace that was allowed (DESIGN 3).

It meets the frame loop only in SQLite. Oldest frame first, one at a time; nothing is owed to a line, so every doubt is
settled by waiting. It is not niced: a thread that holds the interpreter lock and gets no processor would hold the line up.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

import msgspec

from agent.decide.budget import Budget
from agent.decide.opinions import Gone, allowance
from agent.decide.thresholds import decide
from agent.ports.clock import Clock
from agent.ports.log import Log
from agent.ports.memory import Memory
from agent.ports.opinions import Opinion, OpinionQueue, OpinionSource, Waiting
from agent.ports.policy import ImagesLeave
from agent.ports.samples import SampleStore
from agent.update.backoff import full_jitter_s
from contract.errors import LinkDown, NotFound, PlumblineError, RefusedError, TransientError
from contract.manifest import Manifest

_SPENT = "opinions_budget"
_HOUR_S, _DAY_S = 3_600.0, 86_400.0
# An image that fails is tried again after about a minute, then two, four, ...; eight times take some two hours.
_RETRY_BASE_S, _RETRY_CAP_S = 60.0, 6 * 3_600.0
_LONGEST_NAP_S = 60.0


@dataclass(frozen=True, slots=True)
class OpinionRules:
    """At most `per_hour` images (2 or more) and `bytes_per_day` of them leave; what failed `most_tries` times is given up."""

    policy: ImagesLeave
    per_hour: float
    bytes_per_day: float
    most_tries: int = 8
    idle_s: float = 5.0
    bundle_rest_s: float = _HOUR_S


class _Kept(msgspec.Struct, frozen=True):
    at: float
    images: float
    bytes: float


class SecondOpinions:
    """Asks about one frame a step. `run` is one thread.

    `manifest_of` gives the manifest of a bundle that judged here, None when it is not known any more. `pressed` says that
    the line needs processor or network for itself.
    """

    def __init__(
        self,
        queue: OpinionQueue,
        samples: SampleStore,
        source: OpinionSource,
        manifest_of: Callable[[str], Manifest | None],
        memory: Memory,
        clock: Clock,
        log: Log,
        rules: OpinionRules,
        *,
        roll: Callable[[], float],
        pressed: Callable[[], bool] = lambda: False,
    ) -> None:
        self._queue = queue
        self._samples = samples
        self._source = source
        self._manifest_of = manifest_of
        self._memory = memory
        self._clock = clock
        self._log = log
        self._rules = rules
        self._roll = roll
        self._pressed = pressed
        self._images: Budget | None = None
        self._bytes: Budget | None = None
        self._link_failures = 0
        self._unknown: dict[str, float] = {}
        self.faults = 0
        """Errors that nothing here foresaw, counted by the outermost guard."""

    def run(self, stop: threading.Event) -> None:
        """Ask until `stop` is set."""
        while not stop.is_set():
            try:
                wait_s = self.step()
            except TransientError as error:  # the disk: what cannot be noted is not asked
                self._log.fault("opinions", error.one_line())
                wait_s = self._rules.idle_s
            except Exception as error:  # noqa: BLE001 - the daemon's outermost guard: counted, said, and tried again
                self.faults += 1
                self._log.fault("opinions", f"{type(error).__name__}: {error}")
                wait_s = self._rules.idle_s
            stop.wait(min(wait_s, _LONGEST_NAP_S))

    def step(self) -> float:
        """Ask about at most one frame; return how long to wait before the next step, seconds.

        Raises:
            TransientError: the disk refused.
        """
        if self._pressed():
            return self._rules.idle_s
        rest_s = self._source.rest_s()
        if rest_s > 0:
            return rest_s
        waiting = self._queue.next_due(self._clock.now())
        if waiting is None:
            return self._rules.idle_s
        # P8: queued under the policy of then, asked about under the policy of now.
        if not self._rules.policy.allows_opinion(waiting.unsure):
            return self._give_up(waiting, Gone.POLICY, "")
        if self._clock.monotonic() < self._unknown.get(waiting.bundle, 0.0):
            return self._give_up(waiting, Gone.NO_BUNDLE, "the cloud has no full-precision model of it")
        manifest = self._manifest_of(waiting.bundle)
        if manifest is None:
            return self._give_up(waiting, Gone.NO_BUNDLE, "its manifest is not kept here any more")
        found = self._samples.find(waiting.sample)
        if found is None:
            return self._give_up(waiting, Gone.EVICTED, "")
        _, png = found
        wait_s = self._pay(len(png))
        if wait_s == float("inf"):
            return self._give_up(waiting, Gone.TOO_LARGE, f"{len(png)} bytes are more than may be sent at once")
        return wait_s if wait_s > 0 else self._ask(waiting, png, manifest)

    def _ask(self, waiting: Waiting, png: bytes, manifest: Manifest) -> float:
        failures, self._link_failures = self._link_failures, 0
        try:
            prediction, model = self._source.ask(png, waiting.bundle, manifest.labels)
        except LinkDown as error:
            self._link_failures = failures + 1
            self._log.fault("opinions", error.one_line())
            return full_jitter_s(self._link_failures, self._roll())
        except TransientError as error:
            self._log.fault("opinions", error.one_line())
            return self._try_later(waiting, error)
        except NotFound as error:
            # Every other frame of that bundle would be sent for the same answer.
            self._remember_unknown(waiting.bundle)
            self._queue.gone_of_bundle(waiting.bundle, Gone.NO_BUNDLE, error.one_line(), self._clock.now())
            self._log.fault("opinions", error.one_line())
            return 0.0
        except RefusedError as error:
            self._log.fault("opinions", error.one_line())
            return self._give_up(waiting, Gone.REFUSED, error.one_line())
        # By the thresholds of the bundle that judged, whatever is in charge now: they answer the same question.
        verdict = decide(prediction, manifest.thresholds).verdict
        opinion = Opinion(prediction, verdict, prediction.label.name == waiting.label, model)
        self._queue.answered(waiting, opinion, self._clock.now())
        return 0.0

    def _try_later(self, waiting: Waiting, error: PlumblineError) -> float:
        if waiting.tries + 1 >= self._rules.most_tries:
            return self._give_up(waiting, Gone.GAVE_UP, error.one_line())
        wait_s = full_jitter_s(waiting.tries + 1, self._roll(), base_s=_RETRY_BASE_S, cap_s=_RETRY_CAP_S)
        self._queue.failed(waiting, self._clock.now() + wait_s)
        return 0.0

    def _give_up(self, waiting: Waiting, why: Gone, detail: str) -> float:
        self._queue.gone(waiting, why, detail, self._clock.now())
        return 0.0

    def _remember_unknown(self, bundle: str) -> None:
        now_s = self._clock.monotonic()
        self._unknown = {name: until_s for name, until_s in self._unknown.items() if until_s > now_s}
        self._unknown[bundle] = now_s + self._rules.bundle_rest_s

    def _pay(self, size_bytes: int) -> float:
        """Spend one image and its bytes; return 0 when they were paid, else for how long they cannot be (for ever: inf).

        What is spent is durable before anything is sent: a station that restarts over and over keeps to its budget too.
        """
        now_s = self._clock.monotonic()
        images, volume = self._images, self._bytes
        if images is None or volume is None:
            images, volume = self._restore(now_s)
        wait_s = max(images.wait_s(now_s), volume.wait_s(now_s, size_bytes))
        if wait_s <= 0:
            _, images = images.spend(now_s)
            _, volume = volume.spend(now_s, size_bytes)
            kept = _Kept(self._clock.now(), images.tokens, volume.tokens)
            self._memory.put(_SPENT, msgspec.json.encode(kept).decode())
        self._images, self._bytes = images, volume
        return wait_s

    def _restore(self, now_s: float) -> tuple[Budget, Budget]:
        images = allowance(self._rules.per_hour, _HOUR_S, now_s)
        volume = allowance(self._rules.bytes_per_day, _DAY_S, now_s)
        text = self._memory.get(_SPENT)
        try:
            kept = msgspec.json.decode(text, type=_Kept) if text else None
        except msgspec.DecodeError:
            kept = None
        if kept is None:
            return images, volume
        # By the wall clock, the only one that goes on while we do not: set forward, it gives one full bucket, no more.
        gone_by_s = max(0.0, self._clock.now() - kept.at)
        return _left(images, kept.images, gone_by_s), _left(volume, kept.bytes, gone_by_s)


def _left(full: Budget, tokens: float, gone_by_s: float) -> Budget:
    return replace(full, tokens=min(full.capacity, max(0.0, tokens) + gone_by_s * full.per_s))
