"""Which second opinions are taken on, and which are given next. Pure: time is an argument, and nothing here waits.

What a line waits for is taken on only if it would be answered by its deadline with all that waits before it, and if nobody who was
taken on becomes late by it (a feasibility test, earliest deadline first: Liu and Layland 1973). The rest is refused at once, while
the station still has time to stand by its own answer. What nobody waits for (`deferred`) fills idle time.
"""

from __future__ import annotations

import heapq
import math
from bisect import insort
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from cloud.fallback.pace import Pace
from cloud.fallback.questions import Counts, Fate, Question, Refusal, Refused, Running

# Images are in memory while they wait; there are few where their bytes are many.
_MOST_WAITING = 512
_MOST_DEFERRED = 32
DEFERRED_PATIENCE_S = 5.0
"""For so long a deferred question waits for idle time once its image is here; the image itself may take minutes."""
# A station that asked within so long counts among those that share what there is.
_ACTIVE_S = 5.0


def plan(
    questions: Iterable[Question], free_at: Sequence[float], takes_s: Callable[[str, int], float], now: float
) -> tuple[dict[int, float], float]:
    """Return when each question would be answered, by number, and when the last would.

    Args:
        questions: that wait, earliest deadline first; a batch is the first of them and those of the same model behind it.
        free_at: when each worker is free.
        takes_s: how long a batch of (model, size) takes.
    """
    ordered = list(questions)
    lanes: dict[str, deque[Question]] = {}
    for each in ordered:
        lanes.setdefault(each.model, deque()).append(each)
    workers = [max(at, now) for at in free_at]
    heapq.heapify(workers)
    ends: dict[int, float] = {}
    last = now
    for head in ordered:
        if head.number in ends:
            continue
        lane = lanes[head.model]
        size = min(head.room, len(lane))
        at = workers[0] + takes_s(head.model, size)
        heapq.heapreplace(workers, at)
        for _ in range(size):
            ends[lane.popleft().number] = at
        last = max(last, at)
    return ends, last


class Desk:
    """Questions from the door to their answer, for `workers` workers. `max_bytes` bounds what waits."""

    def __init__(self, pace: Pace, *, workers: int, max_bytes: int, max_wait_s: float) -> None:
        self._pace, self._workers = pace, workers
        self._max_bytes, self._max_wait_s = max_bytes, max_wait_s
        self._lines: list[tuple[float, int, Question]] = []
        self._deferred: deque[Question] = deque()
        self._ready_at: dict[int, float] = {}
        self._running: dict[int, Running] = {}
        self._of: dict[str, int] = {}
        self._seen: dict[str, float] = {}
        self._batches = 0
        self.waiting_bytes = 0
        self.counts = Counts()
        # Whether a batch that could run is held for company: somebody must look again soon.
        self.holds = False

    @property
    def waiting(self) -> int:
        """How many wait, those whose image is on its way among them."""
        return len(self._lines) + len(self._deferred)

    @property
    def running(self) -> int:
        """How many batches are in hand."""
        return len(self._running)

    def offer(self, question: Question, now: float) -> Refusal | None:
        """Take a question on, its image still to come (`arrived`), or say why not."""
        refusal = self._why_not(question, now)
        if refusal is not None:
            self.counts.refused[refusal.cause] += 1
            return refusal
        self.counts.admitted += 1
        self.waiting_bytes += question.size_bytes
        if question.deferred:
            self._deferred.append(question)
        else:
            insort(self._lines, (question.due_at, question.number, question))
            self._of[question.station] = self._of.get(question.station, 0) + 1
        return None

    def arrived(self, question: Question, size_bytes: int, now: float) -> bool:
        """Note that the image is all here; return False where that took so long that it is late, and dropped."""
        due_at = now + DEFERRED_PATIENCE_S if question.deferred else question.due_at
        grown = replace(question, size_bytes=size_bytes, due_at=due_at)
        line = (question.due_at, question.number, question)
        if question in self._deferred:
            self._deferred[self._deferred.index(question)] = grown
        elif line in self._lines:
            self._lines[self._lines.index(line)] = (question.due_at, question.number, grown)
        else:
            return False  # dropped meanwhile
        self.waiting_bytes += size_bytes - question.size_bytes
        if not question.deferred:
            takes_s = self._pace.batch_s if len(self._lines) > 1 or self._running else self._pace.usual_s
            ends, _ = plan(self._in_order(), self._free_at(now), takes_s, now)
            if ends[question.number] > question.due_at:
                self.leave(question.number, Fate.LATE)
                return False
        self._ready_at[question.number] = now
        return True

    def leave(self, number: int, fate: Fate) -> bool:
        """Take a question that waits off the desk; return False where it does not wait any more."""
        for at, (_, known, question) in enumerate(self._lines):
            if known == number:
                del self._lines[at]
                self._count_off(question)
                break
        else:
            found = next((each for each in self._deferred if each.number == number), None)
            if found is None:
                return False
            self._deferred.remove(found)
            question = found
        self.waiting_bytes -= question.size_bytes
        self._ready_at.pop(number, None)
        self.counts.fates[fate] += 1
        return True

    def take(self, now: float) -> tuple[int, Running] | None:
        """Return (number, batch) to be run now, None for none: no worker is free, or nothing is there.

        A batch with room for what is just being sent is held for it, up to `max_wait_s` and if there is time.
        """
        self.holds = False
        if len(self._running) >= self._workers:
            return None
        ready = [each for each in self._in_order() if each.number in self._ready_at]
        if ready:
            head = ready[0]
            batch = [each for each in ready if each.model == head.model][: head.room]
            if self._is_worth_waiting(batch, now):
                self.holds = True
                return None
        else:
            # One, and one at a time: a line that asks the next moment waits for it.
            alone = not any(running.questions[0].deferred for running in self._running.values())
            idle = [each for each in self._deferred if each.number in self._ready_at]
            if not idle or not alone or self._would_hold_up(idle[0], now):
                return None
            batch = idle[:1]
        return self._start(batch, now)

    def overdue(self, now: float) -> list[int]:
        """Return who waits and will not be answered in time any more, if batches take what they usually do.

        Whoever would be late holds up those behind for nothing. They are refused now, while a station still waits to hear.
        """
        late = [number for due_at, number, q in self._lines if now + self._pace.least_s(q.model) > due_at]
        waiting = [q for _, number, q in self._lines if number not in late]
        # One that takes long may end the next moment: only the desk's own promises are made with more care.
        free_at = [max(r.ends_at, now) for r in self._running.values()]
        free_at += [now] * (self._workers - len(free_at))
        while waiting:
            ends, _ = plan(waiting, free_at, self._pace.usual_s, now)
            first = next((ends[q.number] for q in waiting if ends[q.number] > q.due_at), None)
            if first is None:
                break
            late += [q.number for q in waiting if ends[q.number] == first and first > q.due_at]
            waiting = [q for q in waiting if q.number not in late]
        return late + [each.number for each in self._deferred if now >= each.due_at]

    def finished(self, batch: int, fates: Sequence[Fate], now: float) -> None:
        """Note what became of each of a batch's questions, in order."""
        running = self._running.pop(batch)
        for question, fate in zip(running.questions, fates, strict=True):
            self.waiting_bytes -= question.size_bytes
            self.counts.fates[fate] += 1
        self._pace.note(running.questions[0].model, len(running.questions), now - running.began_at)

    def _why_not(self, question: Question, now: float) -> Refusal | None:
        full = self.waiting_bytes + question.size_bytes > self._max_bytes or self.waiting >= _MOST_WAITING
        if question.deferred:
            # Lines that ask find room, whatever comes slowly for later.
            theirs = question.size_bytes + sum(each.size_bytes for each in self._deferred)
            full = full or len(self._deferred) >= _MOST_DEFERRED or theirs > self._max_bytes / 2
            return Refusal(Refused.FULL, 30) if full else None
        active = self._count_active(question.station, now)
        if full:
            return Refusal(Refused.FULL, 1)
        before = self._in_order()
        mine = [each.size_bytes for each in before if each.station == question.station]
        # Images that come slowly, with time enough, take the room of all others and no turn: one station gets half of it at most.
        if mine and (sum(mine) + question.size_bytes > self._max_bytes / 2 or len(mine) >= _MOST_WAITING // 2):
            return Refusal(Refused.SHARE, 1)
        position = sum(1 for each in before if (each.due_at, each.number) < (question.due_at, question.number))
        after = [*before[:position], question, *before[position:]]
        # Whoever refuses with idle hands learns nothing: a slow time would be believed for ever.
        takes_s = self._pace.batch_s if before or self._running else self._pace.usual_s
        ends, last = plan(after, self._free_at(now), takes_s, now)
        late = sum(ends[each.number] > each.due_at for each in after)
        if late:
            were = plan(before, self._free_at(now), self._pace.batch_s, now)[0]
            late_anyway = sum(were[each.number] > each.due_at for each in before)
            if ends[question.number] > question.due_at or late > late_anyway:
                return Refusal(Refused.LATE, max(1, math.ceil(last - question.due_at)))
        # While there is time enough, whoever asks is served. When half of it goes into waiting, what waits is shared out.
        share = math.ceil((len(before) + 1) / active)
        if ends[question.number] - now > (question.due_at - now) / 2 and self._of.get(question.station, 0) >= share:
            return Refusal(Refused.SHARE, 1)
        return None

    def _count_active(self, station: str, now: float) -> int:
        self._seen.pop(station, None)
        self._seen[station] = now  # the newest last
        while now - next(iter(self._seen.values())) > _ACTIVE_S:
            del self._seen[next(iter(self._seen))]
        return len(self._seen)

    def _is_worth_waiting(self, batch: list[Question], now: float) -> bool:
        head = batch[0]
        if len(batch) >= head.room:
            return False
        coming = any(q.model == head.model and number not in self._ready_at for _, number, q in self._lines)
        until = self._ready_at[head.number] + self._max_wait_s
        return coming and now < until and until + self._pace.batch_s(head.model, head.room) < head.due_at

    def _would_hold_up(self, question: Question, now: float) -> bool:
        """Return whether somebody whose image is on its way would be late if `question` were judged meanwhile."""
        busy = sorted(self._free_at(now))
        busy[0] = now + self._pace.batch_s(question.model, 1)
        ends, _ = plan(self._in_order(), busy, self._pace.batch_s, now)
        return any(ends[number] > due_at for due_at, number, _ in self._lines)

    def _start(self, batch: list[Question], now: float) -> tuple[int, Running]:
        taken = {each.number for each in batch}
        if batch[0].deferred:
            self._deferred = deque(each for each in self._deferred if each.number not in taken)
        else:
            self._lines = [each for each in self._lines if each[1] not in taken]
        for each in batch:
            del self._ready_at[each.number]
            if not each.deferred:
                self._count_off(each)
        running = Running(tuple(batch), now, now + self._pace.batch_s(batch[0].model, len(batch)))
        self._batches += 1
        self._running[self._batches] = running
        self.counts.batches += 1
        self.counts.batched += len(batch)
        return self._batches, running

    def _count_off(self, question: Question) -> None:
        left = self._of[question.station] - 1
        if left:
            self._of[question.station] = left
        else:
            del self._of[question.station]

    def _in_order(self) -> list[Question]:
        return [question for _, _, question in self._lines]

    def _free_at(self, now: float) -> list[float]:
        # One that takes longer than was thought will be late by as much again as it is: it may hang, and is no free worker.
        busy = [max(r.ends_at, now + (now - r.ends_at)) for r in self._running.values()]
        return busy + [0.0] * (self._workers - len(busy))
