"""The story's nine steps. Each promise is checked on what the product's own processes did and say."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from cloud.retrain.run_folder import RunFolder
from scripts.story.exam import accuracy_on, defocused_copy, precision_accuracies
from scripts.story.images import Pictures
from scripts.story.inspector import MAX_LABELS, Inspector
from scripts.story.oracle import Oracle
from scripts.story.plant import ENROL_WINDOWS, FOGGED, STATIONS, Plant
from scripts.story.processes import Process, StepFailed, run_tool, tool, wait_until
from scripts.story.stopping import release_badly
from scripts.story.telling import Step, Telling

BROKER_AWAY_S = 20.0
_INT8_WITHIN_PT = 0.5
# Only what hangs is ended by it: that a thing happens is the promise, how long it took stands in the table.
_PATIENCE_S = 600.0
_LIVE_ANSWERS = 96
_LENS_MOVES_S = 1.0  # a station reads its camera's controls a few times a second


class Story:
    """What the steps share."""

    def __init__(self, plant: Plant, pictures: Pictures, work: Path, base: Path | None, telling: Telling) -> None:
        self.plant, self.pictures, self.work, self.telling = plant, pictures, work, telling
        self._base = base
        self.base_run = work / "base"
        self._inspector = Inspector(plant.url, plant.inspector_token, pictures.truth, plant.verify)
        self._bundles: dict[str, Path] = {}
        self.figures: dict[str, Any] = {}
        self.good_version = ""
        self._oracle: Oracle | None = None

    def train_and_release(self, step: Step) -> None:
        """1: a base model, trained, quantized, gated, signed."""
        if self._base is not None:
            self.base_run = self._base
            shown = {
                p.relative_to(f).as_posix() for f in (self.pictures.line, self.pictures.exam) for p in f.rglob("*.*")
            }
            trained_on = {entry.file for entry in RunFolder(self._base).dataset().entries}
            if not self.pictures.simulated and (leaked := shown & trained_on):
                raise StepFailed(
                    f"{self._base} has seen {len(leaked)} images of the exam or the line: use the same --seed"
                )
        else:
            arguments = ["--data", str(self.pictures.data), "--layout", self.pictures.layout]
            arguments += ["--exclude", str(self.pictures.excluded)]
            # The exam is apart already, so the gate may do with less.
            arguments += ["--holdout", "0.15", "--out", str(self.base_run)]
            if self.pictures.simulated:
                arguments += ["--simulated"]
            self._step_command("train", *arguments)
            self._step_command("quantize", str(self.base_run))
            self._step_command("gate", str(self.base_run))
        tested = precision_accuracies(self.base_run, (self.pictures.line, self.pictures.exam), self.pictures.truth)
        fp32, int8 = tested["fp32"], tested["int8"]
        step.figures |= {"fp32_acc": fp32, "int8_acc": int8, "reused": self._base is not None}
        self.figures |= {"fp32_acc": fp32, "int8_acc": int8}
        step.promise(f"int8 is within {_INT8_WITHIN_PT} point of fp32", (fp32 - int8) * 100 <= _INT8_WITHIN_PT)
        released = self.plant.cloud_command("release", str(self.base_run), "--version", "v1")
        step.promise("the release is signed and listed", self.plant.vouched_for(released["bundle"]))
        self._oracle = Oracle(self.pictures, self.base_run, self.work)

    def install_and_enrol(self, step: Step) -> None:
        """2: over the air onto every station; then each learns its normal."""
        self.plant.cloud.start()
        wait_until(
            "the cloud answers", lambda: "stations" in self.plant.get("/v1/fleet"), _PATIENCE_S, [self.plant.cloud]
        )
        self.plant.add_stations()
        self.telling.say(f"   watch it live: {self.plant.url}/")
        for station in self.plant.stations.values():
            station.start()
        self._wait_online()
        rollout = self._roll_out("v1")
        step.promise("every station installed v1 over the air", rollout["state"] == "DONE")
        if rollout["state"] != "DONE":
            raise StepFailed(f"the rollout stopped: {rollout['reason']}")
        seconds = wait_until("every station has its baseline", self._all_enrolled, _PATIENCE_S, self.plant.processes())
        step.figures |= {"enrol_s": seconds, "windows": ENROL_WINDOWS}
        step.promise("no alarm while enrolling", not self.plant.get("/v1/alarms"))

    def lose_focus(self, step: Step) -> None:
        """3: one lens loses focus; nothing on the line says so."""
        exam = self.work / "exam-defocused"
        names = [p.relative_to(self.pictures.exam).as_posix() for p in self.pictures.exam.rglob("*") if p.is_file()]
        defocused_copy(self.pictures.exam, names, exam)
        bundle = self._bundle("v1")
        sharp = accuracy_on(bundle, self.pictures.exam, self.pictures.truth)
        blurred = accuracy_on(bundle, exam, self.pictures.truth)
        before = self._live_accuracy(FOGGED, "v1")
        set_lens = [tool("plumbline-agent"), "simulate", "set", str(self.plant.controls(FOGGED)), "--defocus-px", "1"]
        run_tool(set_lens)
        self.lost_focus_at = time.time()
        self.figures["before_acc"] = blurred
        step.figures |= {"sharp_acc": sharp, "defocused_acc": blurred, "live_before": before}
        step.promise("on sharp images the model is good (>= 0.9)", sharp >= 0.9)
        step.promise("under defocus it is worse than a coin (< 0.5)", blurred < 0.5)

    def raise_alarm(self, step: Step) -> None:
        """4: one alarm, on that station and no other, from sketches alone."""
        self._inspector.start()
        seconds = wait_until(
            "a drift alarm", lambda: bool(self.plant.get("/v1/alarms")), _PATIENCE_S, self.plant.processes()
        )
        alarms = self.plant.get("/v1/alarms")
        # The alarm may come before half of the latest answers are of blurred frames.
        live = self._live_accuracy(FOGGED, "v1", since=self.lost_focus_at + _LENS_MOVES_S)
        step.figures |= {"seconds_to_alarm": seconds, "live_after": live, "says": alarms[0]["sentence"]}
        self.telling.say(f"   {alarms[0]['station']}: {alarms[0]['sentence']}")
        step.promise("the alarm is on the station that lost focus", [a["station"] for a in alarms] == [FOGGED])
        before = self.telling.steps[2].figures["live_before"]
        step.promise("its answers on the line had collapsed meanwhile", live < before - 0.25)
        step.promise("no other station is alarmed", self._alarmed() == {FOGGED})

    def label(self, step: Step) -> None:
        """5: flagged and audit-drawn parts go before an inspector."""
        wait_until("a retrain that the labels called for", self._retrain_is_there, _PATIENCE_S, self.plant.processes())
        retrain = self._retrain()
        step.figures |= {
            "labels": self._inspector.labelled,
            "distinct_parts": len(self._inspector.parts),
            "why": retrain["reason"],
        }
        self.figures["labels"] = self._inspector.labelled
        self.telling.say(f"   retrain: {retrain['reason']}")
        step.promise(f"at most {MAX_LABELS} labels were asked for", 0 < self.plant.asked_for() <= MAX_LABELS)
        step.promise("labels led to the retrain, not a timer", "accuracy on" in retrain["reason"])

    def retrain_and_roll_out(self, step: Step) -> None:
        """6: retrained, quantized, gated, signed; canary, then everyone."""

        def rolled_out() -> bool:
            retrain = self._retrain()
            if retrain["state"] == "failed":
                raise StepFailed(
                    f"the retrain failed: {json.loads(retrain['figures']).get('trouble', 'see cloud.log')}"
                )
            rollouts = [
                r for r in self.plant.get("/v1/rollouts") if r["version"] == retrain["version"] and retrain["version"]
            ]
            return bool(rollouts) and rollouts[0]["state"] in ("DONE", "ABORTED")

        wait_until("the new version is rolled out", rolled_out, _PATIENCE_S, self.plant.processes())
        retrain = self._retrain()
        rollout = next(r for r in self.plant.get("/v1/rollouts") if r["version"] == retrain["version"])
        self.good_version = retrain["version"]
        waves = {m["station"]: m["wave"] for m in rollout["stations"]}
        step.figures |= {"version": self.good_version, "train_s": retrain["ended_at"] - retrain["started_at"]}
        step.promise("the gate passed it", json.loads(retrain["figures"])["gate"]["passed"])
        step.promise("every station committed it", rollout["state"] == "DONE")
        step.promise("a healthy canary went first, the alarmed station last", waves[FOGGED] == max(waves.values()) > 0)

    def measure(self, step: Step) -> None:
        """7: accuracy is back, measured on images nobody labelled."""
        bundle = self._bundle(self.good_version)
        after = accuracy_on(bundle, self.work / "exam-defocused", self.pictures.truth)
        sharp = accuracy_on(bundle, self.pictures.exam, self.pictures.truth)
        live = self._live_accuracy(FOGGED, self.good_version)
        oracle = self._oracle_accuracy()
        self.figures |= {"after_acc": after, "oracle_acc": oracle, "after_over_oracle": after / oracle}
        step.figures |= {
            "defocused_acc": after,
            "oracle": oracle,
            "over_oracle": after / oracle,
            "sharp_acc": sharp,
            "live": live,
        }
        step.promise("accuracy is at least 0.97 of an oracle with every label", after / oracle >= 0.97)
        step.promise(
            "sharp images are still judged well (within 2 points)",
            sharp >= self.telling.steps[2].figures["sharp_acc"] - 0.02,
        )
        wait_until("the alarm is closed", self._no_open_alarm, _PATIENCE_S, self.plant.processes())
        alarms = self.plant.get("/v1/alarms")
        step.promise("the alarm is closed by the version that answers it", self.good_version in alarms[0]["closed_why"])
        step.promise("it is still the only alarm there ever was", [a["station"] for a in alarms] == [FOGGED])

    def release_badly(self, step: Step) -> None:
        """8: a bad release stops itself, and a second one too; the page shows it happening."""
        self._bundle(self.good_version)
        release_badly(self.plant, self.good_version, self.work, self._roll_out, self.telling, step)

    def break_things(self, step: Step) -> None:
        """9: the broker dies for 20 s, a station is killed with -9: nothing lost, nothing twice."""
        victim = self.plant.stations["line3"]
        self.plant.broker.kill()
        self.telling.say(f"   the broker is killed; back in {BROKER_AWAY_S:.0f} s")
        time.sleep(BROKER_AWAY_S / 2)
        victim.kill()
        self.telling.say("   station line3 is killed with -9 and started again")
        victim.start()
        time.sleep(BROKER_AWAY_S / 2)
        kept = max(self.plant.account(s).waiting for s in STATIONS)
        self.plant.broker.start()
        self._wait_online()
        self._settle([self.plant.broker, self.plant.cloud])
        totals = {s: f["totals"] for s, f in self.plant.fleet().items()}
        books = {s: self.plant.account(s) for s in STATIONS}
        frames = sum(b.captured for b in books.values())
        step.figures |= {
            "frames": frames,
            "kept_while_away": kept,
            "undecided": sum(t["undecided"] for t in totals.values()),
        }
        step.promise("stations kept their summaries while the broker was away", kept > 0)
        step.promise("no summary is missing", all(t["missing_seqs"] == 0 for t in totals.values()))
        for station, book in books.items():
            told = totals[station]
            same = (told["decided"], told["passed"], told["rejected"]) == (book.captured, book.passed, book.rejected)
            counts = f"{told['decided']} in the cloud, {book.captured} in the station's database"
            step.promise(f"{station}: every frame once ({counts})", same)

    def close(self) -> None:
        """End the inspector's shift and the oracle's training."""
        if self._oracle is not None:
            self._oracle.close()
        if self._inspector.labelled:
            self._inspector.stop()

    def _settle(self, watch: list[Process]) -> None:
        """Wait until the backlog is delivered, stop the stations as a plant would on Friday, and see that nothing waits."""
        wait_until("the cloud is back at the broker", self.plant.broker_connected, _PATIENCE_S, watch)
        # A window closes every second or two, so one summary may always be on its way.
        wait_until(
            "the backlog is delivered",
            lambda: all(self.plant.account(s).waiting <= 2 for s in STATIONS),
            _PATIENCE_S,
            watch,
        )
        for station in self.plant.stations.values():
            station.stop(within_s=30.0)
        left = [s for s in STATIONS if self.plant.account(s).waiting]
        # What a stopping station could not hand over in time goes out when it runs again; that is not a loss.
        for name in left:
            self.telling.say(f"   {name} runs again to deliver its last summary")
            self.plant.stations[name].start()
            wait_until("it is delivered", lambda name=name: not self.plant.account(name).waiting, _PATIENCE_S, watch)
            self.plant.stations[name].stop(within_s=30.0)

    def _step_command(self, *arguments: str) -> Any:
        return json.loads(run_tool([tool("plumbline-cloud"), *arguments, "--json"]))

    def _bundle(self, version: str) -> Path:
        if not version:
            raise StepFailed("there is no such version: an earlier step did not come to its end")
        if version not in self._bundles:
            digest = self.plant.digest(version)
            self._bundles[version] = next((self.plant.home / "registry" / "tuf" / "targets").rglob(f"*{digest}*.plb"))
        return self._bundles[version]

    def _oracle_accuracy(self) -> float:
        if self._oracle is None:
            raise StepFailed("there is no oracle: the first step did not come to its end")
        run = self._oracle.run(within_s=_PATIENCE_S)
        self.plant.cloud_command(
            "release", str(run), "--version", "oracle", "--override-gate", "measured only, never rolled out"
        )
        return accuracy_on(self._bundle("oracle"), self.work / "exam-defocused", self.pictures.truth)

    def _live_accuracy(self, station: str, version: str, since: float = 0.0) -> float:
        """Return the share of a station's latest answers by a version that are right: what nobody in a plant can see.

        `since`: only of frames captured from then on, Unix seconds.
        """
        bundle, needed = self.plant.digest(version), _LIVE_ANSWERS
        answers: list[tuple[str, str]] = []

        def enough() -> bool:
            answers[:] = self.plant.latest_answers(station, bundle, needed, since)
            return len(answers) == needed

        wait_until(f"{needed} answers of {station}", enough, _PATIENCE_S, self.plant.processes())
        return sum(self.pictures.truth[part] == label for part, label in answers) / needed

    def _roll_out(self, version: str) -> dict[str, Any]:
        rollout = self.plant.cloud_command("rollout", "start", "--version", version)["id"]
        found: dict[str, Any] = {}

        def over() -> bool:
            found.update(next(r for r in self.plant.get("/v1/rollouts") if r["id"] == rollout))
            return found["state"] in ("DONE", "ABORTED")

        wait_until(f"the rollout of {version} ends", over, _PATIENCE_S, self.plant.processes())
        return found

    def _wait_online(self) -> None:
        wait_until(
            "every station is online",
            lambda: all(s["online"] for s in self.plant.fleet().values()),
            _PATIENCE_S,
            self.plant.processes(),
        )

    def _alarmed(self) -> set[str]:
        return {name for name, s in self.plant.fleet().items() if s["drift"]["phase"] == "alarmed"}

    def _all_enrolled(self) -> bool:
        return all(s["drift"]["phase"] == "quiet" for s in self.plant.fleet().values())

    def _retrain(self) -> dict[str, Any]:
        retrains = self.plant.get("/v1/retrains")
        if not retrains:
            raise StepFailed("there is no retrain")
        first: dict[str, Any] = retrains[0]
        return first

    def _retrain_is_there(self) -> bool:
        return bool(self.plant.get("/v1/retrains"))

    def _no_open_alarm(self) -> bool:
        return all(a["closed_at"] is not None for a in self.plant.get("/v1/alarms"))
