"""Commands are done once, and no image leaves against the policy (P8)."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from agent.chores import Chores
from agent.ports.policy import ImagesLeave
from contract.errors import LinkDown, RefusedError
from contract.messages import Command, SampleNote
from tests.fakes.agent_line import DictMemory, ListLog


class Kept:
    """Two kept samples: one drawn for the audit, one the model was unsure of."""

    def __init__(self) -> None:
        self.uploaded: list[str] = []

    def find(self, sample: str) -> tuple[SampleNote, bytes] | None:
        if sample not in ("audit", "hard"):
            return None
        return SampleNote(sample, 1.0, "p", "good", 0.5, "PASS", sample, 0.1), b"png"

    def mark_asked(self, names: Sequence[str]) -> None:
        self.asked = list(names)

    def mark_uploaded(self, sample: str) -> None:
        self.uploaded.append(sample)


class Sender:
    def __init__(self, error: Exception | None = None) -> None:
        self.sent: list[str] = []
        self.error = error

    def send(self, note: SampleNote, png: bytes) -> None:
        if self.error is not None:
            raise self.error
        self.sent.append(note.sample)


class Enrolment:
    def __init__(self) -> None:
        self.requests = 0

    def request_enrolment(self) -> None:
        self.requests += 1


def chores(
    policy: ImagesLeave = ImagesLeave.REQUESTED,
    *,
    memory: DictMemory | None = None,
    sender: Sender | None = None,
    enrolment: Enrolment | None = None,
    kept: Kept | None = None,
) -> Chores:
    return Chores(
        "s1", memory or DictMemory(), kept or Kept(), sender, policy, {"": enrolment or Enrolment()}, ListLog()
    )


def upload(*samples: str, id: str = "c1") -> Command:
    return Command(id, "s1", "upload_samples", 100.0, {"samples": list(samples)})


def test_requested_images_are_sent_and_marked() -> None:
    sender, kept = Sender(), Kept()
    result = chores(sender=sender, kept=kept).do(upload("audit", "hard", "gone"), 1.0)
    assert result is not None and result.ok
    assert result.detail == "2 sent, 1 no longer kept, 0 refused"
    assert sender.sent == kept.uploaded == ["audit", "hard"]


def test_never_means_never() -> None:
    sender = Sender()
    result = chores(ImagesLeave.NEVER, sender=sender).do(upload("audit", "hard"), 1.0)
    assert result is not None and not result.ok
    assert "no image leaves" in result.detail
    assert sender.sent == []


def test_unsure_lets_only_unsure_frames_leave() -> None:
    sender = Sender()
    result = chores(ImagesLeave.UNSURE, sender=sender).do(upload("audit", "hard"), 1.0)
    assert result is not None and result.ok
    assert sender.sent == ["hard"]
    assert "1 refused" in result.detail


class Notices:
    def __init__(self) -> None:
        self.seen: list[tuple[bool, str]] = []

    def notice_drift(self, alarmed: bool, why: str) -> None:
        self.seen.append((alarmed, why))


def test_a_drift_notice_reaches_the_line_once_and_a_malformed_one_never() -> None:
    notices = Notices()
    worker = Chores("s1", DictMemory(), Kept(), None, ImagesLeave.NEVER, {"": Enrolment()}, ListLog(), {"": notices})
    command = Command("d1", "s1", "drift", 100.0, {"alarmed": True, "why": "lens"})
    for _ in range(2):
        result = worker.do(command, 1.0)
        assert result is not None and result.ok and "void" in result.detail
    for n, arguments in enumerate(({}, {"alarmed": 1}, {"alarmed": True, "why": 3})):
        wrong = worker.do(Command(f"x{n}", "s1", "drift", 100.0, arguments), 1.0)
        assert wrong is not None and not wrong.ok
    assert notices.seen == [(True, "lens")]


def test_a_drift_notice_and_an_enrolment_reach_the_camera_they_name_and_no_other() -> None:
    notices = {camera: Notices() for camera in ("", "left")}
    enrolments = {camera: Enrolment() for camera in ("", "left")}
    worker = Chores("s1", DictMemory(), Kept(), None, ImagesLeave.NEVER, enrolments, ListLog(), notices)
    drift = {"alarmed": True, "why": "lens"}
    for n, named in enumerate(({"camera": "left"}, {}, {"camera": ""})):
        for name in ("drift", "re_enrol"):
            done = worker.do(Command(f"{name}{n}", "s1", name, 100.0, {**drift, **named}), 1.0)
            assert done is not None and done.ok
        if n == 0:
            assert (notices["left"].seen, notices[""].seen) == ([(True, "lens")], [])
            assert (enrolments["left"].requests, enrolments[""].requests) == (1, 0)
    assert (len(notices[""].seen), enrolments[""].requests) == (2, 2)
    assert (len(notices["left"].seen), enrolments["left"].requests) == (1, 1)


@pytest.mark.parametrize("camera", ["right", "", 3, None, ["left"]])
@pytest.mark.parametrize("name", ["drift", "re_enrol"])
def test_a_command_for_a_camera_that_is_not_there_is_refused_with_those_that_are(name: str, camera: object) -> None:
    notices, enrolment = Notices(), Enrolment()
    worker = Chores(
        "s1", DictMemory(), Kept(), None, ImagesLeave.NEVER,
        {"left": enrolment, "top": enrolment}, ListLog(), {"left": notices, "top": notices},
    )  # fmt: skip
    done = worker.do(Command("c1", "s1", name, 100.0, {"alarmed": True, "why": "lens", "camera": camera}), 1.0)
    assert done is not None and not done.ok
    assert "there are: left, top" in done.detail
    assert (notices.seen, enrolment.requests) == ([], 0)


def test_images_the_cloud_asks_for_are_marked_before_they_are_sent() -> None:
    kept, sender = Kept(), Sender(LinkDown("gone"))
    with pytest.raises(LinkDown):
        chores(sender=sender, kept=kept).do(upload("hard", "audit"), 1.0)
    assert kept.asked == ["hard", "audit"]


def test_a_repeated_id_is_answered_from_memory_even_after_a_restart() -> None:
    memory, enrolment = DictMemory(), Enrolment()
    command = Command("c9", "s1", "re_enrol", 100.0)
    first = chores(memory=memory, enrolment=enrolment).do(command, 1.0)
    assert chores(memory=memory, enrolment=enrolment).do(command, 500.0) == first
    assert enrolment.requests == 1


def test_only_so_many_answers_are_remembered() -> None:
    memory, enrolment = DictMemory(), Enrolment()
    worker = chores(memory=memory, enrolment=enrolment)
    for n in range(300):
        worker.do(Command(f"c{n}", "s1", "re_enrol", 100.0), 1.0)
    assert memory.facts["answered_commands"].count('"id"') == 256


def test_an_expired_or_foreign_command_is_not_done() -> None:
    enrolment = Enrolment()
    worker = chores(enrolment=enrolment)
    assert worker.do(Command("c1", "s1", "re_enrol", 100.0), 101.0) is None
    assert worker.do(Command("c2", "s2", "re_enrol", 100.0), 1.0) is None
    assert enrolment.requests == 0


def test_a_link_that_is_down_leaves_the_command_to_be_done_again() -> None:
    memory, sender = DictMemory(), Sender(LinkDown("gone"))
    worker = chores(memory=memory, sender=sender)
    with pytest.raises(LinkDown):
        worker.do(upload("hard"), 1.0)
    sender.error = None
    result = worker.do(upload("hard"), 2.0)
    assert result is not None and result.ok


@pytest.mark.parametrize("arguments", [{}, {"samples": "all"}, {"samples": [1]}, {"samples": ["x"] * 501}])
def test_wrong_arguments_are_answered(arguments: dict[str, object]) -> None:
    result = chores(sender=Sender()).do(Command("c1", "s1", "upload_samples", 100.0, arguments), 1.0)
    assert result is not None and not result.ok


def test_what_the_cloud_refuses_and_unknown_commands_are_answered() -> None:
    refused = chores(sender=Sender(RefusedError("nobody asked"))).do(upload("hard"), 1.0)
    assert refused is not None and not refused.ok and "nobody asked" in refused.detail
    unknown = chores().do(Command("c2", "s1", "explode", 100.0), 1.0)
    assert unknown is not None and not unknown.ok
