"""Nothing that happens inside the uplink's or the chores' thread ends it: counted, said, and gone on with."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.chores import Chores
from agent.clock import SystemClock
from agent.delivery import Delivery
from agent.mailboxes import Inbox, ReportBox
from agent.ports.link import Incoming, Room, Trouble
from agent.ports.policy import ImagesLeave
from agent.store.database import claim_boot, open_database, transaction
from agent.store.outbox import Outbox
from agent.store.samples import Samples
from agent.uplink_loop import UplinkLoop, UplinkRules
from contract.codec import decode_control, encode_control
from contract.errors import LinkDown
from contract.messages import Accounting, Command, CommandResult, Header, SampleNote, Summary
from contract.topics import Channel
from tests.fakes.agent_line import DictMemory, ListLog


class MoodyLink:
    """A link in memory; `moods` are raised, one a poll."""

    def __init__(self) -> None:
        self.moods: list[Exception] = []
        self.arriving: list[Incoming] = []
        self.published: list[tuple[Channel, bytes]] = []
        self.closed = False
        self._up = False

    def connect(self, within_s: float) -> None:
        self._up = True

    def connected(self) -> bool:
        return self._up

    def room(self) -> Room:
        return Room(20)

    def trouble(self) -> Trouble:
        return Trouble.NONE

    def publish(self, channel: Channel, payload: bytes, *, retain: bool = False) -> None:
        self.published.append((channel, payload))

    def poll(self, within_s: float) -> list[Incoming]:
        time.sleep(0.005)
        if self.moods:
            raise self.moods.pop(0)
        arrived, self.arriving = self.arriving, []
        return arrived

    def close(self, within_s: float) -> None:
        self.closed = True


class MoodySender:
    """Raises `moods`, one a send, then sends."""

    def __init__(self) -> None:
        self.moods: list[Exception] = []
        self.sent: list[str] = []

    def send(self, note: SampleNote, png: bytes) -> None:
        if self.moods:
            raise self.moods.pop(0)
        self.sent.append(note.sample)


class NoEnrolment:
    def request_enrolment(self) -> None:
        raise KeyError("nobody foresaw this")


class House:
    """An uplink loop on a thread of its own, over a real database with one summary and one image."""

    def __init__(self, folder: Path) -> None:
        path = folder / "agent.sqlite"
        self.connections = [open_database(path) for _ in range(3)]
        first, second, third = self.connections
        boot = claim_boot(first, path)
        samples = Samples(second, folder / "samples")
        note = SampleNote("a-1-1", 1.0, "p", "good", 0.5, "REVIEW", "hard", 1.0)
        (folder / "samples").mkdir()
        (folder / "samples/a-1-1.png").write_bytes(b"png")
        samples.add(note, 1, 3)
        with transaction(first):
            header = Header("s1", "", 0, 1.0, 2.0, 3.0, True, "")
            Outbox(first, boot=boot).add(Summary(header, Accounting(captured=1, undecided=1)), 1)
        self.link, self.sender, self.log = MoodyLink(), MoodySender(), ListLog()
        clock = SystemClock()
        chores = Chores("s1", DictMemory(), samples, self.sender, ImagesLeave.REQUESTED, {"": NoEnrolment()}, self.log)
        self.loop = UplinkLoop(
            self.link,
            Delivery(Outbox(third, boot=boot), resend_after_s=60.0),
            chores,
            Inbox(),
            ReportBox(),
            clock,
            self.log,
            UplinkRules("s1"),
            roll=lambda: 0.01,
        )
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.loop.run, args=(self.stop,), daemon=True)

    def on(self, channel: Channel) -> list[bytes]:
        return [payload for of, payload in self.link.published if of is channel]

    def answers(self) -> list[CommandResult]:
        return [decode_control(payload, CommandResult) for payload in self.on(Channel.RESULT)]

    def command(self, name: str, *, key: str, **arguments: object) -> None:
        command = Command(key, "s1", name, time.time() + 600, dict(arguments))
        self.link.arriving.append(Incoming(Channel.COMMAND, encode_control(command)))

    def close(self) -> None:
        self.stop.set()
        self.thread.join(60.0)
        for connection in self.connections:
            connection.close()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    yield house
    house.close()


def wait_until(what: Callable[[], bool]) -> None:
    until = time.monotonic() + 60.0
    while not what():
        assert time.monotonic() < until, "it never came to be"
        time.sleep(0.005)


def test_errors_nobody_foresaw_are_counted_and_the_summary_is_sent_all_the_same(house: House) -> None:
    house.link.moods = [RuntimeError("a driver's whim"), LinkDown("gone"), KeyError("x")]
    house.thread.start()
    wait_until(lambda: len(house.on(Channel.SUMMARY)) == 1)
    assert house.loop.faults == 2 and house.thread.is_alive()
    assert any("RuntimeError: a driver's whim" in line for line in house.log.lines)


class CutLink(MoodyLink):
    """Connects, and is cut before anything is said; `told` is what the broker says of it."""

    def __init__(self, told: Trouble) -> None:
        super().__init__()
        self._told = told

    def trouble(self) -> Trouble:
        return self._told

    def poll(self, within_s: float) -> list[Incoming]:
        self._up = False
        raise LinkDown("cut")


class Pauses(threading.Event):
    """A stop that is not waited for, but noted; set after so many."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most
        self.s: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.s.append(timeout or 0.0)
        if len(self.s) >= self._most:
            self.set()
        return self.is_set()


@pytest.mark.parametrize(("told", "longest_s"), [(Trouble.NONE, 60.0), (Trouble.TAKEN_OVER, 600.0)])
def test_a_link_cut_again_and_again_is_made_again_within_a_minute_and_a_name_in_use_within_ten(
    house: House, told: Trouble, longest_s: float
) -> None:
    link, pauses = CutLink(told), Pauses(14)
    house.loop._link = link
    house.loop._roll = lambda: 1.0
    house.thread = threading.Thread(target=house.loop.run, args=(pauses,), daemon=True)
    house.thread.start()
    house.thread.join(60.0)
    assert max(pauses.s) == pauses.s[-1] == longest_s
    if told is Trouble.NONE:
        assert max(pauses.s[:4]) <= 30.0, "a few cuts are the network's"


def test_an_error_while_leaving_still_says_goodbye_to_the_broker(house: House) -> None:
    house.thread.start()
    wait_until(lambda: len(house.on(Channel.SUMMARY)) == 1)  # unacknowledged, so that leaving waits for it
    house.link.moods = [RuntimeError("too late")] * 1000
    house.stop.set()
    house.thread.join(60.0)
    assert not house.thread.is_alive() and house.link.closed and house.loop.faults > 0


def test_a_command_that_breaks_does_not_end_the_commands(house: House) -> None:
    house.sender.moods = [TypeError("nobody foresaw this")]
    house.thread.start()
    house.command("re_enrol", key="breaks")
    house.command("upload_samples", key="breaks too", samples=["a-1-1"])
    wait_until(lambda: house.loop.faults == 2)
    house.command("upload_samples", key="works", samples=["a-1-1"])
    wait_until(lambda: [answer.id for answer in house.answers()] == ["works"])
    assert house.answers()[0].ok and house.sender.sent == ["a-1-1"]


def test_a_command_whose_images_cannot_be_sent_now_is_tried_again_and_given_up_aloud(house: House) -> None:
    house.sender.moods = [LinkDown("no cloud")] * 5
    house.thread.start()
    house.command("upload_samples", key="c1", samples=["a-1-1"])
    wait_until(lambda: any("c1" in line and "given up" in line for line in house.log.lines))
    house.command("upload_samples", key="c1", samples=["a-1-1"])  # the cloud asks again
    wait_until(lambda: [answer.id for answer in house.answers()] == ["c1"])
    assert house.sender.sent == ["a-1-1"] and house.loop.faults == 0
