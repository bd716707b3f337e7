"""A station's windows as figures and sentences."""

from __future__ import annotations

import numpy as np

from cloud.dashboard import station_charts as charts
from cloud.dashboard.station_facts import StationFacts, certificate_lines, lost_lines, settings_lines, update_lines
from cloud.dashboard.station_figures import POINTS, figures_of
from cloud.dashboard.theme import DARK, Tone
from cloud.drift.baseline import fit_inputs
from cloud.drift.observation import observation
from cloud.ports.stations import StationStatus
from cloud.store.certificates import CertificateRow
from cloud.store.station_history import BootSequences, GapRow, StoredWindow
from contract.codec import encode_summary
from contract.messages import Accounting, Header, HealthNote, Summary
from contract.sketches.wire import to_wire
from tests.cloud.drift.conftest import StationLine

T0 = 1_795_200_000.0


def _stored(line: StationLine, at: float, camera: str = "", health: HealthNote | None = None) -> StoredWindow:
    line.at = at
    r = line.record()
    header = Header(r.station, r.boot, r.seq, r.started_at, r.ended_at, 0.0, True, "d" * 64, camera=camera)
    counts = Accounting(
        captured=32, passed=20, rejected=4, review={"unsure": 6}, dropped={"queue full": 1}, undecided=1
    )
    told = Summary(header, counts, to_wire(r.window), health=health)
    return StoredWindow(at, camera, "d" * 64, 1, encode_summary(told))


def test_what_is_seen_now_is_held_against_the_enrolled_normal() -> None:
    line = StationLine(seed=3)
    baseline = fit_inputs([observation(line.record()) for _ in range(48)])
    quiet = [_stored(line, T0 + 3600 * n) for n in range(6)]
    assert all(each.inside for each in figures_of(quiet, "", baseline).statistics)
    line.shift_by(sharpness=-8.0)
    figures = figures_of([*quiet, _stored(line, T0 + 7 * 3600)], "", baseline)
    out = [each for each in figures.statistics if not each.inside]
    assert [each.name for each in out] == ["sharpness"] and out[0].z < -5
    assert charts.statistics_words(figures.statistics, figures.frames_now).startswith(
        "Out of the enrolled range: sharp"
    )
    assert figures.frames_now == 32 and figures.before[8].sum() == 6 * 32
    # All of it lies in the lowest bins now; before, in the middle.
    assert figures.histograms[8][:8].sum() == 32 and figures.before[8][24:40].sum() > 100
    assert figures_of(quiet, "", None).statistics == ()


def test_points_add_up_and_are_few_however_many_windows() -> None:
    line, health = StationLine(), HealthNote(memory_mib=99.0, hottest_c=50.0, rung=1)
    stored = [_stored(line, T0 + 60 * n, health=health) for n in range(300)]
    figures = figures_of(stored, "", None)
    assert len(figures.points) <= POINTS + 1
    sums = [sum(getattr(p, name) for p in figures.points) for name in ("passed", "rejected", "review", "lost")]
    assert sums == [6000, 1200, 1800, 600]
    assert all(p.latency_ms is not None and p.latency_ms[0] <= p.latency_ms[2] for p in figures.points)
    assert figures.points[-1].health == health
    words = charts.health_words(figures.points)
    assert "step 1 of the degrade ladder" in words and words.endswith(
        "waiting to be sent."
    )  # an older agent says no more


def test_what_the_machine_itself_said_is_told() -> None:
    health = HealthNote(hottest_c=50.0, low_power=True, power_w=14.25, free_memory_mib=3120.0, disk_worn=0.9)
    words = charts.health_words(figures_of([_stored(StationLine(), T0, health=health)], "", None).points)
    assert "50 °C, short of power" in words
    assert words.endswith(
        "Its board takes 14.2 W. 3,120 MiB of the machine's memory are left. Its disk has used 90% of its life."
    )


def test_cameras_are_apart_and_what_cannot_be_read_is_counted() -> None:
    line = StationLine()
    stored = [_stored(line, T0, "left"), _stored(line, T0 + 60, "right"), StoredWindow(T0 + 90, "", "", 1, b"\xc1junk")]
    figures = figures_of(stored, "left", None)
    assert figures.cameras == ("left", "right") and figures.windows == 1 and figures.unreadable == 1
    nothing = figures_of([], "", None)
    assert nothing.points == () and charts.verdicts_words(()) == "No frame in this time."
    assert charts.latency_words(()).startswith("No latency") and not charts.has_health(())


def test_charts_hold_no_key_that_would_run() -> None:
    line = StationLine()
    figures = figures_of([_stored(line, T0 + 60 * n) for n in range(3)], "", None)
    named = charts.named_labels(figures.labels, ["good", ":<script>"])
    made = [
        *(charts.histogram_chart(DARK, figures, number) for number in range(12)),
        charts.labels_chart(DARK, named),
        charts.verdicts_chart(DARK, figures.points),
        charts.latency_chart(DARK, figures.points),
        charts.health_chart(DARK, figures.points),
    ]
    assert not [key for key in _keys(made) if key.startswith(":")]
    assert sum(n for _, n in named) == int(np.sum(figures.labels))


def _keys(value: object) -> list[str]:
    if isinstance(value, dict):
        return [*value, *(key for each in value.values() for key in _keys(each))]
    return [key for each in value for key in _keys(each)] if isinstance(value, list) else []


def _facts(**more: object) -> StationFacts:
    blank = {"station": "s", "site": "", "boot": "b", "online": True, "state_at": T0, "agent_version": "", "simulated": False,
             "bundle": "d" * 64, "update_state": "", "deployment": "", "candidate": "", "reason": "", "desired_seq": 0,
             "reported_at": T0, "summary_at": T0}  # fmt: skip
    status = {key: more.pop(key) for key in list(more) if key in StationStatus.__slots__}
    rest = {"missing": 0, "version": "v1", "boots": (), "gaps": (), "certificates": (), **more}
    return StationFacts(now=T0, status=StationStatus(**{**blank, **status}), **rest)  # type: ignore[arg-type]


def test_an_update_is_told_in_words_beside_its_own() -> None:
    (line, why, *_) = update_lines(_facts(update_state="ROLLED_BACK", reason="agreed on 41 % of frames"))
    assert line == ("", "ROLLED_BACK: it went back to the bundle before", Tone.BAD)
    assert why == ("Why", "agreed on 41 % of frames", None)
    assert update_lines(_facts(update_state="NEWER"))[0][1] == "NEWER: of a newer agent"
    assert update_lines(_facts()) == [("", "It has reported no update yet.", None)]
    assert settings_lines(_facts(config_state="REFUSED"))[0] == ("", "REFUSED: it does not follow them", Tone.BAD)


def test_what_was_lost_and_until_when_a_certificate_counts_are_told() -> None:
    gap = GapRow("left", T0, T0, 4, "disk full", verified=False, received_at=T0)
    boot = BootSequences("b1", 1, 9, ((2, 4), (6, 6)), T0)
    lines = lost_lines(_facts(missing=4, boots=(boot,), gaps=(gap,)))
    assert [line[1] for line in lines] == [
        "4 summaries never came",
        "2 to 4, 6 of boot b1 (it is at 9)",
        "4 windows of left given up: disk full, not signed by it",
    ]
    assert lost_lines(_facts())[0][2] is Tone.GOOD
    good = CertificateRow("ab", "station", "s", "ca", "k", T0, T0 + 90 * 86_400, T0)
    gone = CertificateRow(
        "cd", "station", "s", "ca", "k", T0, T0 + 90 * 86_400, T0, revoked_at=T0 - 60, reason="stolen"
    )
    assert certificate_lines(_facts(certificates=(good, gone)))[0][2] is Tone.GOOD
    assert certificate_lines(_facts(certificates=(gone,)))[0][1] == "revoked 1 min ago: stolen"
    assert certificate_lines(_facts())[0][2] is None
