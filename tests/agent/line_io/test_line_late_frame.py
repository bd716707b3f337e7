"""A camera that is triggered by wire, whose image comes after its part was given up: it is never the next part's."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.line_io.desk import Desk, DeskRules
from agent.line_io.triggered import TriggeredSource
from agent.ports.line import Answer, Lost, Refused
from agent.ports.source import Frame
from contract.errors import BadImage
from tests.fakes.agent_clock import HandClock

TIMEOUT_S = 0.25
GREY = np.full((4, 4), 90, np.uint8)


class Camera:
    """Gives the frames that a test puts in, each of a part and with the camera's own count."""

    simulated = waits = False

    def __init__(self, clock: HandClock) -> None:
        self.clock, self.count = clock, 0
        self.frames: list[Frame | BadImage] = []

    def put(self, part: str) -> None:
        """The image of `part` is there now; which part it shows is seen by its pixels, and here by a trace."""
        self.count += 1
        now_s = self.clock.monotonic()
        self.frames.append(Frame(GREY, self.clock.now(), now_s, trigger=self.count, trace=part))

    def read(self) -> Frame | None:
        found = self.frames.pop(0) if self.frames else None
        if isinstance(found, BadImage):
            raise found
        return found

    def exhausted(self) -> bool:
        return False

    def close(self) -> None:
        pass


class Wired:
    """A desk and a camera that it triggers."""

    def __init__(self, *, one_before_camera: bool = False) -> None:
        self.clock = HandClock()
        rules = DeskRules(timeout_s=TIMEOUT_S, waiting=64, one_before_camera=one_before_camera)
        self.desk = Desk(rules, self.clock)
        self.answers: list[Answer] = []
        self.desk.show = self.answers.append
        self.camera = Camera(self.clock)
        self.source = TriggeredSource(self.camera, self.desk, self.clock, own_triggers=True)

    def ask(self, part: str) -> None:
        assert self.desk.trigger(part, part) is None

    def wait(self, seconds: float) -> None:
        self.clock.forward(seconds)
        self.desk.expire()

    def image(self, of: str) -> str:
        """Deliver the image of a part; return the part that it is given to, "" for nobody."""
        self.camera.put(of)
        frame = self.source.read()
        assert frame is not None and frame.trace == of
        return frame.part if frame.asked else ""

    def damaged(self) -> None:
        """Deliver an image that cannot be read."""
        self.camera.count += 1
        self.camera.frames.append(BadImage("it is damaged"))
        with pytest.raises(BadImage):
            self.source.read()

    def lost(self) -> list[tuple[object, object]]:
        return [(each.ask, each.lost) for each in self.answers]


def gives_up(line: Wired) -> None:
    line.wait(TIMEOUT_S + 0.01)


def takes_back(line: Wired) -> None:
    line.wait(0.05)
    assert line.desk.withdraw("a")


@pytest.mark.parametrize("end", [gives_up, takes_back])
def test_an_image_that_comes_too_late_is_not_the_next_parts(end: Callable[[Wired], None]) -> None:
    line = Wired()
    line.ask("a")
    end(line)
    line.ask("b")
    line.wait(0.02)
    assert line.image("a") == ""
    line.wait(0.02)
    assert line.image("b") == "b"
    line.ask("c")
    line.wait(0.02)
    assert line.image("c") == "c"


def test_an_image_that_comes_too_late_and_damaged_is_not_the_next_parts() -> None:
    line = Wired()
    line.ask("a")
    gives_up(line)
    line.ask("b")
    line.wait(0.02)
    line.damaged()
    line.wait(0.02)
    assert line.image("b") == "b"
    assert line.lost() == [("a", Lost.TIMEOUT)]


def test_an_image_that_comes_too_late_and_before_the_next_request_costs_that_nothing() -> None:
    line = Wired()
    line.ask("a")
    gives_up(line)
    assert line.image("a") == ""
    line.ask("b")
    assert line.desk.wanting()
    line.wait(0.02)
    assert line.image("b") == "b"
    assert line.lost() == [("a", Lost.TIMEOUT)]


def test_images_that_come_late_together_are_told_apart() -> None:
    line = Wired()
    for part in ("a", "b"):
        line.ask(part)
        line.wait(0.01)
    gives_up(line)
    line.ask("c")
    assert [line.image(part) for part in ("a", "b", "c")] == ["", "", "c"]


def test_where_the_cameras_count_says_that_an_image_is_lost_none_is_awaited() -> None:
    line = Wired()
    line.ask("z")
    assert line.image("z") == "z"
    line.ask("a")
    gives_up(line)
    line.camera.count += 1
    line.ask("b")
    line.wait(0.02)
    assert line.image("b") == "b"


def test_a_trigger_that_the_camera_took_no_notice_of_costs_a_few_parts_and_a_pause_that_the_station_makes() -> None:
    line = Wired()
    line.ask("a")
    for part in ("b", "c", "d"):
        gives_up(line)
        line.ask(part)
        line.wait(0.02)
        assert line.desk.state().ready
        assert line.image(part) == ""
    assert "a pause tells whose the next one is" in line.desk.state().why
    assert line.desk.trigger("e", "e") is Refused.NOT_READY
    line.wait(2 * TIMEOUT_S - 0.02)
    assert line.desk.trigger("f", "f") is Refused.NOT_READY
    line.wait(0.03)
    assert line.desk.state().ready
    for part in ("g", "h"):
        line.ask(part)
        line.wait(0.02)
        assert line.image(part) == part
    assert [ask for ask, _ in line.lost()] == ["a", "b", "c", "d"]


def test_an_image_that_nobody_asked_for_costs_a_few_parts_and_a_pause() -> None:
    line = Wired()
    assert line.image("nothing") == ""
    for part in ("a", "b", "c"):
        line.wait(0.1)
        line.ask(part)
        line.wait(0.02)
        assert line.image(part) == "", "it could be the image of whoever comes next"
    assert not line.desk.state().ready
    line.wait(2 * TIMEOUT_S)
    assert line.desk.state().ready
    for part in ("d", "e"):
        line.ask(part)
        line.wait(0.02)
        assert line.image(part) == part
        line.wait(0.1)
    assert [ask for ask, _ in line.lost()] == ["a", "b", "c"]


def test_a_camera_that_is_late_once_in_a_while_makes_no_pause() -> None:
    line = Wired()
    for n in range(9):
        line.ask(f"late-{n}")
        gives_up(line)
        line.ask(f"next-{n}")
        line.wait(0.02)
        assert line.image(f"late-{n}") == ""
        line.wait(0.02)
        assert line.image(f"next-{n}") == f"next-{n}"
    assert line.desk.state().ready


def shifted(line: Wired) -> None:
    """The camera takes no notice of a trigger, and the image of the next part is taken for that one's."""
    line.ask("a")
    gives_up(line)
    line.ask("b")
    line.wait(0.02)
    assert line.image("b") == ""


def lost_on_the_way(line: Wired) -> None:
    """The camera takes no notice of a trigger, and the image of the next part is lost, which its count says."""
    line.ask("z")
    assert line.image("z") == "z"
    line.ask("a")
    gives_up(line)
    line.ask("b")
    line.wait(0.02)
    line.camera.count += 1


@pytest.mark.parametrize("begin", [shifted, lost_on_the_way])
def test_a_part_whose_image_may_be_gone_does_not_get_that_of_the_part_that_was_asked_for_meanwhile(
    begin: Callable[[Wired], None],
) -> None:
    line = Wired()
    begin(line)
    line.wait(0.1)
    line.ask("c")
    line.wait(0.02)
    assert line.image("c") == ""
    assert line.lost()[-3:] == [("a", Lost.TIMEOUT), ("b", Lost.TIMEOUT), ("c", Lost.TIMEOUT)]
    line.wait(2 * TIMEOUT_S + 0.01)
    line.ask("d")
    line.wait(0.02)
    assert line.image("d") == "d"


FATES = st.lists(
    st.tuples(
        st.sampled_from(["image", "image", "lost", "damaged", "ignored"]), st.integers(1, 48), st.integers(2, 60)
    ),
    min_size=1,
    max_size=14,
)


def test_no_trigger_is_taken_while_another_waits_for_its_image() -> None:
    line = Wired(one_before_camera=True)
    line.ask("a")
    assert line.desk.trigger("b", "b") is Refused.FULL
    line.wait(0.02)
    assert line.image("a") == "a"
    line.ask("c")  # while the model looks at the image of the first
    assert line.image("c") == "c"
    assert line.desk.counts().waiting == 2


@pytest.mark.parametrize("one_before_camera", [False, True])
@given(fates=FATES)
@example(fates=[("ignored", 1, 2), ("image", 1, 2)])
def test_however_late_and_lossy_a_camera_is_no_part_gets_the_image_of_another(
    one_before_camera: bool, fates: list[tuple[str, int, int]]
) -> None:
    """Each part: what becomes of its image, after how many hundredths of a second, and when the next one is asked for."""
    line, due, now = Wired(one_before_camera=one_before_camera), [], 0
    given, refused = list[tuple[str, str]](), set[int]()
    asked_at, ready_at = 0, 0
    line.ask("first")
    assert line.image("first") == "first"  # from here on the camera's count says what is lost
    for n, (fate, takes, apart) in enumerate(fates):
        due.append((asked_at, 0, n, "ask"))
        if fate == "ignored":
            # Where several may wait, nothing is asked before it is given up: the next image would be its own.
            asked_at += apart if one_before_camera else max(apart, 26)
            continue
        # A camera's images come in their order, each within twice the timeout of its request.
        ready_at = max(ready_at, asked_at + takes)
        late = ready_at >= asked_at + 49
        due.append((min(ready_at, asked_at + 48), 1, n, "lost" if late else fate))
        asked_at += apart
    for at, _, n, what in sorted(due):
        line.wait((at - now) / 100)
        now, part = at, f"part-{n}"
        if n in refused:
            continue  # its part is not triggered
        if what == "ask":
            if line.desk.trigger(part, part) is not None:
                refused.add(n)
        elif what == "lost":
            line.camera.count += 1
        elif what == "damaged":
            line.damaged()
        else:
            given.append((line.image(part), part))
    assert all(to in ("", of) for to, of in given), given
