"""One station: what it sees against its normal, its verdicts, how it fares, and all that was done about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nicegui import run, ui
from starlette.requests import Request

from cloud.api.auth import SCOPES, Role, Scope
from cloud.dashboard.fleet_page import DRIFT_TONES, LINK_TONES
from cloud.dashboard.fleet_source import FleetSource
from cloud.dashboard.parts import Tone, act, ask_reason, badge, banner, card, empty, link, live, said, words
from cloud.dashboard.shell import Shell
from cloud.dashboard.station_facts import FactsCard, StationFacts
from cloud.dashboard.station_figures import figures_of
from cloud.dashboard.station_sketches import Sketches, SketchesFound
from cloud.dashboard.station_timeline import timeline
from cloud.dashboard.visit import Visit
from cloud.drift.baseline import InputBaseline
from cloud.drift.fleet_status import StationDrift
from cloud.ports.series import series_name, split_series
from cloud.ports.stations import StationStatus
from cloud.store.fleet_rows import FleetRow, LinkState
from cloud.store.station_history import StationHistory
from contract.errors import NotFound

REFRESH_S, SKETCHES_S, LONG_SKETCHES_S = 2.0, 5.0, 60.0


@dataclass(frozen=True, slots=True)
class StationReads:
    """What the page asks beside the fleet; each is called in a thread. `labels` gives a bundle's labels, () where unknown;
    `accuracy` says of a series what people's labels say of its answers, "" for nothing.
    """

    status: Callable[[str], StationStatus | None]
    history: StationHistory
    drift: Callable[[str], Sequence[StationDrift]]
    accuracy: Callable[[str], str]
    baseline: Callable[[str], InputBaseline | None]
    labels: Callable[[str], Sequence[str]]


@dataclass(frozen=True, slots=True)
class StationActs:
    """What a person can do: learn a series' normal anew, and have a station run nothing. (what, who, why)."""

    re_enrol: Callable[[str, str, str], None]
    stop: Callable[[str, str, str], None]


@dataclass(frozen=True, slots=True)
class _Found:
    row: FleetRow
    sentences: tuple[str, ...]
    facts: StationFacts


def station_page(shell: Shell, source: FleetSource, reads: StationReads, acts: StationActs) -> None:
    """Put the page at /station/NAME."""

    @ui.page("/station/{name:path}")
    async def station(request: Request, name: str) -> None:
        if (entered := shell.enter(request, f"Station {name[:80]}", "/fleet")) is None:
            return
        visit, column = entered
        known = await run.io_bound(source.one, name) if "\0" not in name else None
        with column:
            if known is None:
                empty(
                    f"There is no station called '{name[:80]}'.",
                    "Names are 1 to 63 of a-z, 0-9, '-' and '_'. Add it with: plumbline-cloud station add NAME --out FOLDER",
                )
                link("All stations", "/fleet")
                return
            _StationView(visit, source, reads, acts, name)


class _StationView:
    """One open page."""

    def __init__(self, visit: Visit, source: FleetSource, reads: StationReads, acts: StationActs, name: str) -> None:
        self._visit, self._source, self._reads, self._acts, self._name = visit, source, reads, acts, name
        with ui.row().classes("items-center gap-3 w-full"):
            self._link, self._drift = badge("looking ..."), badge("looking ...")
            self._simulated = badge("SIMULATED: no camera", Tone.WARN)
            self._where = words("")
            ui.space()
            self._buttons()
        self._told = ui.column().classes("w-full").props('aria-live="polite"')
        self._silent = ui.column().classes("w-full")
        with self._silent:
            empty(
                "This station has never said a word.",
                "Copy the folder that `plumbline-cloud station add` wrote onto it and start its agent; it shows here within a"
                " minute. If it runs: does it reach the broker, and is the certificate of this plant?",
            )
        self._silent.set_visibility(False)
        self._alone = ui.column().classes("w-full")
        with self._alone:
            empty(
                "This station asks over HTTP, and was never heard by MQTT.",
                "It gets its orders and settings, and none of its summaries come. If it has a [broker]: does it reach that host and"
                " port, and is the certificate of this plant? plumbline-agent doctor on the station says it.",
            )
        self._alone.set_visibility(False)
        trouble = ui.column().classes("w-full")
        with card("Drift"):
            self._sentences = ui.column().classes("gap-1 pl-sentences")
            link("The evidence over time", f"/drift?series={name}")
        self._said: tuple[str, ...] = ()
        self._sketches = Sketches(self._look_again)
        with (
            ui.element("div")
            .classes("grid gap-4 w-full pl-facts")
            .style("grid-template-columns: repeat(auto-fit, minmax(19rem, 1fr))")
        ):
            self._facts = FactsCard()
        timeline(visit, lambda start, limit: reads.history.timeline(name, start, limit), source.now)
        with trouble:
            live(visit, self._read, self._show, REFRESH_S, what="The station's data")
            self._sketches_live = live(
                visit, self._read_sketches, self._sketches.show, SKETCHES_S, what="The station's windows"
            )

    async def _look_again(self) -> None:
        # Of a large fleet a week's windows take seconds to find.
        self._sketches_live.every(SKETCHES_S if self._sketches.asked.hours <= 24.0 else LONG_SKETCHES_S)
        await self._sketches_live.refresh()

    def _buttons(self) -> None:
        for scope, text, do, danger in (
            (Scope.TUNE, "Learn its normal anew", self._re_enrol, False),
            (Scope.HALT, "Stop this station", self._stop, True),
        ):
            if self._visit.may(scope):
                act(text, do, danger=danger, quiet=not danger)

    def _read(self) -> _Found:
        name, history = self._name, self._reads.history
        row, status = self._source.one(name), self._reads.status(name)
        if row is None or status is None:
            raise NotFound(f"station '{name}' was taken out of the fleet", hint="look at the fleet page")
        facts = StationFacts(
            now=self._source.now(),
            status=status,
            missing=row.missing,
            version=self._source.versions().get(row.bundle, row.bundle[:12]),
            boots=tuple(history.boots(name)),
            gaps=tuple(history.gaps(name, limit=10)),
            certificates=tuple(history.certificates(name)),
        )
        drift = self._reads.drift(name)
        sentences = tuple(_sentence(each, self._reads.accuracy(each.station)) for each in drift)
        return _Found(row, sentences or ("It has sent no window yet.",), facts)

    def _show(self, found: _Found) -> None:
        row, status = found.row, found.facts.status
        self._link.show(row.link.value, LINK_TONES[row.link])
        self._drift.show(row.drift.value, DRIFT_TONES[row.drift])
        self._simulated.element.set_visibility(row.simulated)
        version = found.facts.version or "no model yet"
        agent = f"agent {status.agent_version}" if status.agent_version else ""
        self._where.set_text(" · ".join(filter(None, (row.site, row.board, agent, f"runs {version}"))))
        self._silent.set_visibility(row.link is LinkState.NEVER)
        self._alone.set_visibility(row.link is LinkState.HTTP_ALONE)
        if found.sentences != self._said:
            self._said = found.sentences
            self._sentences.clear()
            with self._sentences:
                for sentence in found.sentences:
                    words(sentence)
        self._facts.show(found.facts)

    def _read_sketches(self) -> SketchesFound:
        name, asked = self._name, self._sketches.asked
        stored = self._reads.history.windows(name, self._source.now() - asked.hours * 3600.0, asked.most)
        baseline = self._reads.baseline(series_name(name, asked.camera))
        figures = figures_of(stored, asked.camera, baseline)
        return SketchesFound(figures, self._reads.labels(figures.bundle), enrolled=baseline is not None)

    async def _re_enrol(self) -> None:
        camera = self._sketches.asked.camera
        which = f"the camera '{camera}' of {self._name}" if camera else self._name
        reason = await ask_reason(
            f"Learn the normal of {which} anew?",
            "Learn anew",
            explain="What it sees from now on becomes its normal, and its open drift alarm ends: right after service or a new"
            " product, wrong while something is broken.",
        )
        if reason is not None:
            series = series_name(self._name, camera)
            done = f"{which} learns its normal anew."
            await self._do(Scope.TUNE, lambda who: self._acts.re_enrol(series, who, reason), done)

    async def _stop(self) -> None:
        reason = await ask_reason(
            f"Stop {self._name}?",
            "Stop it",
            explain="It will run no model, and every part goes to REVIEW, until another rollout reaches it.",
            danger=True,
        )
        if reason is not None:
            done = f"{self._name} was ordered to stop; the update card says when it has."
            await self._do(Scope.HALT, lambda who: self._acts.stop(self._name, who, reason), done)

    async def _do(self, scope: Scope, do: Callable[[str], None], done: str) -> None:
        try:
            answer = await run.io_bound(self._try, scope, do)
        except Exception as error:  # noqa: BLE001 - what went wrong is told to who asked for it, whatever it is
            self._tell(f"It was not done: {said(error)}", Tone.BAD)
            return
        if answer is None:  # NiceGUI answers None while the server shuts down
            return
        enough = ", ".join(role.value for role in Role if scope in SCOPES[role])
        if answer:
            self._tell(done, Tone.GOOD)
        else:
            self._tell(f"It was not done: to {scope.value}, sign in as one of: {enough}.", Tone.BAD)

    def _try(self, scope: Scope, do: Callable[[str], None]) -> bool:
        # Asked again now: the page may have been open for a day, and the dialog for an hour.
        person = self._visit.person
        if person is None or not person.may(scope):
            return False
        do(person.name)
        return True

    def _tell(self, text: str, tone: Tone) -> None:
        if not self._told.is_deleted:
            self._told.clear()
            with self._told:
                banner(text, tone)


def _sentence(drift: StationDrift, accuracy: str) -> str:
    camera = split_series(drift.station)[1]
    shared = f" (shared with {', '.join(drift.shared_by)})" if drift.shared_by else ""
    return (f"{camera}: " if camera else "") + drift.sentence + shared + (f" | {accuracy}" if accuracy else "")
