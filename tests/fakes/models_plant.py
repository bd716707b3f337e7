"""A plant with versions of every stage, runs that led to them, one that did not pass, and the API and pages over it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec
from fastapi import FastAPI

from cloud.api.app import make_app
from cloud.api.auth import COOKIE, Guards, Person, Role
from cloud.api.datasets import dataset_routes
from cloud.api.idempotency import FirstAnswers
from cloud.api.rollout_acts import RolloutActs
from cloud.api.rollouts import rollout_routes
from cloud.api.version_desk import VersionDesk
from cloud.api.version_facts import VersionBook
from cloud.api.versions import version_routes
from cloud.dashboard.model_page import install_model_page
from cloud.dashboard.models_page import install_models_page
from cloud.dashboard.shell import Shell
from cloud.registry.keys import init_keys
from cloud.registry.release import Registry
from cloud.retrain.dataset_book import DatasetBook
from cloud.retrain.dataset_store import save_dataset
from cloud.retrain.release_run import RunReleaser
from cloud.retrain.run_folder import RunFolder
from cloud.retrain.run_records import DatasetEntry, DatasetManifest, Split
from cloud.retrain.version_lineage import VersionLineage
from cloud.rollout.rollout_states import RolloutEvent
from cloud.rollout_loop import RolloutLoop, RolloutSettings
from cloud.store.rollout_reading import RolloutReading
from cloud.store.versions import Versions
from contract.messages import ReportedState
from tests.cloud.commands.test_why_command import BASE, write_run
from tests.cloud.quantize.report_of import page, report
from tests.fakes.cloud_fleet import PlainSigner
from tests.fakes.cloud_tables import T0, Tables, open_tables
from tests.fakes.link import RecordingLink
from tests.tiny_bundle import LABELS

HOSTILE = "<img src=x onerror=\"document.title='owned'\"> {{ 6*7 }} </script><b>bold</b>"
PEOPLE = {role.value: Person(f"{role.value} anna", role) for role in Role}
NOW = T0 + 1_000.0


@dataclass(slots=True)
class ModelsPlant:
    """v1 is champion on s1 and s2, v2 a candidate whose labeller has a hostile name, v0 former; one retrain failed its gate."""

    home: Path
    registry: Registry
    tables: Tables
    versions: Versions
    book: VersionBook
    desk: VersionDesk
    datasets: DatasetBook
    control: RolloutLoop

    def app(self, shell: Shell | None = None) -> FastAPI:
        """Return the application; people are known by the names of their roles, as token and as cookie."""
        guards = Guards(PEOPLE.get, lambda request: PEOPLE.get(request.cookies.get(COOKIE, "")))
        reading = RolloutReading(self.tables.database)
        routers = [
            version_routes(guards, self.book, self.desk),
            dataset_routes(guards, self.datasets),
            rollout_routes(
                guards=guards, reading=reading, approvals=self.tables.rollouts.approvals,
                acts=RolloutActs(self.control, reading.one, lambda: NOW), first_answers=FirstAnswers(),
            ),
        ]  # fmt: skip
        if shell is not None:
            install_models_page(shell, self.book, self.desk)
            install_model_page(shell, self.book, self.desk, self.datasets)
        return make_app(routers)


def models_plant(folder: Path) -> ModelsPlant:
    """Return it, in `folder`."""
    home = folder / "home"
    home.mkdir(parents=True)
    registry, tables = Registry(home / "registry"), open_tables(home / "cloud.db")
    releaser = RunReleaser(registry, init_keys(home / "keys"), home / "runs", lambda: T0 + 50, lambda _content: 1.0)
    hostile = DatasetEntry("h.png", 0, "9" * 64, "scratch", HOSTILE, "base", Split.TRAIN, "h", labelled_at=T0)
    digests = {}
    for number, (name, entries) in enumerate((("v0", BASE[:-1]), ("v1", BASE), ("v2", (*BASE, hostile)))):
        parent = releaser.run_of("v1") if name == "v2" else None
        run = write_run(folder / "made" / name, entries, parent, 20.0 + number)
        (run / "report.html").write_text(page(("good", HOSTILE), name=name), "utf-8")
        if name == "v2":
            kept = RunFolder(run)
            words = msgspec.structs.replace(kept.gate_report(), checks=report(("good", HOSTILE)).checks)
            kept.save_gate_report(msgspec.structs.replace(words, passed=False, judged=kept.gate_report().judged))
        made = RunReleaser(registry, releaser.keys, home / "runs", lambda n=number: T0 + 50 + n, lambda _content: 1.0)
        digests[name] = made.release(run, name, "to see what stations say" if name == "v2" else "").digest
    tables.add_online("s1", "s2")
    for name, at in (("v0", T0 + 60), ("v1", T0 + 80)):
        rollout = tables.rollouts.create(name, digests[name], [["s1", "s2"]], (), "anna", at)
        tables.rollouts.step(tables.rollouts.get(rollout), RolloutEvent.ALL_WAVES_COMMITTED, "plumbline", "", at + 10)
    reports = [ReportedState(each, "b1", T0 + 95, digests["v1"], "COMMITTED") for each in ("s1", "s2")]
    tables.stations.commit([], reports, T0 + 95)
    failed = msgspec.structs.replace(report(("good", "scratch")), passed=False)
    checks = tuple(
        msgspec.structs.replace(check, passed=check.name != "accuracy", sentence=f"{check.sentence} {HOSTILE}")
        for check in failed.checks
    )
    figures = {
        "trouble": "run failed its gate: accuracy",
        "gate": msgspec.to_builtins(msgspec.structs.replace(failed, checks=checks)),
    }
    number = tables.alarms.start_retrain(None, f"the lens is fogged {HOSTILE}", T0 + 100, series="s1")
    tables.alarms.update_retrain(
        number,
        state="failed",
        run="work/retrain-1/run",
        figures=msgspec.json.encode(figures).decode(),
        ended_at=T0 + 200,
    )
    save_dataset(home / "datasets", DatasetManifest(("images",), BASE[:-1], "tiles", LABELS))
    save_dataset(home / "datasets", DatasetManifest(("images",), BASE, "tiles", LABELS))
    versions = Versions(tables.database)
    desk = VersionDesk(registry.catalog, versions, lambda: NOW)
    desk.adopt()

    lineage = VersionLineage(
        registry.catalog, home / "runs", tables.rollouts.all, lambda bundle: versions.running().get(bundle, ())
    )
    book = VersionBook(registry, versions, tables.database, lambda: NOW, lineage.of)
    control = RolloutLoop(
        rollouts=tables.rollouts, stations=tables.stations, releases=registry.catalog, signer=PlainSigner(),
        link=RecordingLink(), settings=RolloutSettings(), now=lambda: NOW, stages=versions,
    )  # fmt: skip
    datasets = DatasetBook(home / "datasets", home / "runs")
    return ModelsPlant(home, registry, tables, versions, book, desk, datasets, control)
