"""Rollouts begun: what is asked for is checked, stations are put into waves, and all of it is stored at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import msgspec

from cloud.maintenance import read_window
from cloud.ports.registry import Release, Releases, VersionStages
from cloud.ports.rollouts import RolloutBook
from cloud.ports.stations import StationBook, StationStatus
from cloud.rollout.cohort import can_shadow, name_waves, order_stations
from cloud.rollout.evidence import RolloutEvidence
from cloud.rollout.plan import RolloutPlan, check_plan
from cloud.rollout.settings import RolloutSettings
from contract.errors import NotFound, RefusedError


class RolloutStart:
    """Makes rollouts. Any thread may ask."""

    def __init__(
        self,
        *,
        rollouts: RolloutBook,
        stations: StationBook,
        releases: Releases,
        settings: RolloutSettings,
        now: Callable[[], float],
        stages: VersionStages | None,
    ) -> None:
        self._rollouts, self._stations, self._releases = rollouts, stations, releases
        self._settings, self._now, self._stages = settings, now, stages

    def release(self, version: str, changed: Sequence[str], actor: str, plan: RolloutPlan | None, reason: str) -> int:
        """Start a rollout of a released version in waves (`RolloutLoop.start`)."""
        release = self._usable(version)
        plan = self._checked(plan)
        status = self._among(plan.cohort)
        strata = self._strata(status, plan.strata)
        ordered = order_stations([s.station for s in status], changed, strata)
        shadow, notes = self._shadow(ordered, {s.station: s for s in status}, release.digest, changed, plan)
        waves = name_waves(ordered, plan.wave_shares, plan.canary, shadow)
        plan = msgspec.structs.replace(plan, waves=waves.names, shadow=waves.shadow)
        return self._create(release, waves.stations, changed, actor, plan, reason, strata=strata, notes=notes)

    def rollback(self, version: str, actor: str, reason: str) -> int:
        """Order an older version for everybody at once (`RolloutLoop.roll_back`)."""
        release = self._usable(version)
        status = self._stations.status()
        if not self._rollouts.ran(release.digest) and not any(s.bundle == release.digest for s in status):
            hint = f"roll it out in waves: plumbline-cloud rollout start --version {version}"
            raise RefusedError(f"version '{version}' never ran on this fleet: nothing to go back to", hint=hint)
        plan = msgspec.structs.replace(
            self._settings.plan(), approvals=0, shadow_stations=0, windows=(), hold_on_budget=False, waves=("everyone",)
        )
        waves = [sorted(s.station for s in status)]
        return self._create(release, waves, (), actor, plan, reason, kind="rollback")

    def side_by_side(self, version: str, share: float, actor: str, until: float, reason: str) -> int:
        """Start an A/B rollout (`RolloutLoop.start_ab`)."""
        release = self._usable(version)
        if not 0.0 < share < 1.0:
            raise RefusedError(
                f"a share of {share} leaves an arm empty", hint="give a share between 0 and 1, such as 0.5"
            )
        if until <= self._now():
            raise RefusedError("an A/B rollout must end after now", hint="give a later time for its end")
        status = self._stations.status()
        control = self._control(status, release)
        plan = self._checked(None)
        strata = self._strata(status, plan.strata)
        ordered = order_stations([s.station for s in status], (), strata)
        if len(ordered) < 2:
            raise RefusedError("an A/B rollout needs two stations or more", hint="roll the version out instead")
        b = ordered[: min(len(ordered) - 1, max(1, round(share * len(ordered))))]
        cut = name_waves(b, (), plan.canary)
        names = (*("canary" if name == "canary" else "arm b" for name in cut.names), "everyone")
        plan = msgspec.structs.replace(
            plan,
            waves=names,
            shadow_stations=0,
            share=share,
            until=until,
            control=control.version,
            control_bundle=control.digest,
            hold_after=len(cut.stations) - 1,
        )
        waves = [*cut.stations, ordered[len(b) :]]
        return self._create(release, waves, (), actor, plan, reason, kind="ab", strata=strata, arm_b=b)

    def _create(
        self,
        release: Release,
        waves: Sequence[Sequence[str]],
        changed: Sequence[str],
        actor: str,
        plan: RolloutPlan,
        reason: str,
        *,
        kind: str = "release",
        strata: dict[str, str] | None = None,
        arm_b: Sequence[str] = (),
        notes: tuple[str, ...] = (),
    ) -> int:
        return self._rollouts.create(
            release.version,
            release.digest,
            waves,
            changed,
            actor,
            self._now(),
            kind=kind,
            plan=plan.encode(),
            evidence=RolloutEvidence(notes=notes).encode(),
            reason=reason,
            proposed=plan.approvals > 0,
            strata=strata,
            arm_b=arm_b,
        )

    def _usable(self, name: str) -> Release:
        version = name
        if self._stages is not None:
            version = self._stages.resolve(name)
            self._stages.check_usable(version)
        release = self._releases.get(version)
        least = max((each.release_counter for each in self._rolled_out()), default=0)
        if release.release_counter < least:
            # OTA-3: stations that committed a release of this epoch refuse whatever is older.
            raise RefusedError(
                f"version '{version}' has release counter {release.release_counter}, and {least} was rolled out",
                hint="versions of that age must never run again; release its run anew to get its bytes back",
            )
        return release

    def _rolled_out(self) -> list[Release]:
        """Return the releases that some station was ordered to run in a rollout that ended well."""
        done = dict.fromkeys(rollout.bundle for rollout in self._rollouts.done())
        return [release for bundle in done if (release := self._releases.by_digest(bundle)) is not None]

    def _checked(self, plan: RolloutPlan | None) -> RolloutPlan:
        plan = plan or self._settings.plan()
        check_plan(plan, self._settings.approvals)
        for window in plan.windows:
            read_window(window)
        return plan

    def _among(self, cohort: str) -> list[StationStatus]:
        status = self._stations.status()
        if not cohort:
            return status
        kind, _, name = cohort.partition(":")
        if kind in ("site", "board"):
            found = [s for s in status if (s.site if kind == "site" else s.board) == name]
        elif cohort in self._settings.cohorts:
            members = {series.partition("/")[0] for series in self._settings.cohorts[cohort]}
            found = [s for s in status if s.station in members]
        else:
            found = [s for s in status if s.station == cohort]
            if not found:
                hint = "name a cohort of [drift.cohorts], site:NAME, board:NAME or a station"
                raise NotFound(f"there is no cohort and no station '{cohort}'", hint=hint)
        if not found:
            raise RefusedError(f"cohort '{cohort}' has no station", hint="see plumbline-cloud station list")
        return found

    def _strata(self, status: Sequence[StationStatus], by: Sequence[str]) -> dict[str, str]:
        cameras: dict[str, list[str]] = {}
        for cohort, members in sorted(self._settings.cohorts.items()):
            for station in sorted({series.partition("/")[0] for series in members}):
                cameras.setdefault(station, []).append(cohort)

        def stratum(said: StationStatus) -> str:
            parts = {"board": said.board, "site": said.site, "camera": "+".join(cameras.get(said.station, ()))}
            return " / ".join(part for name in by if (part := parts[name]))

        return {said.station: stratum(said) for said in status}

    def _shadow(
        self,
        ordered: Sequence[str],
        status: dict[str, StationStatus],
        bundle: str,
        changed: Sequence[str],
        plan: RolloutPlan,
    ) -> tuple[list[str], tuple[str, ...]]:
        """Return who decides unseen first, and what is to be said of those who cannot."""
        if not plan.shadow_stations:
            return [], ()
        fit = [s for s in ordered if status[s].bundle not in ("", bundle) and s not in changed]
        able = [s for s in fit if can_shadow(status[s].agent_version)]
        notes = []
        if old := len(fit) - len(able):
            notes.append(
                f"{old} stations have an agent before 0.2.0, which cannot only decide unseen: left out of the shadow wave"
            )
        if len(able) < plan.shadow_stations:
            notes.append(
                f"the shadow wave has {len(able)} stations, not {plan.shadow_stations}: no other can decide unseen"
            )
        return able[: plan.shadow_stations], tuple(notes)

    def _control(self, status: Sequence[StationStatus], release: Release) -> Release:
        for bundle, _ in Counter(s.bundle for s in status).most_common():
            control = self._releases.by_digest(bundle) if bundle and bundle != release.digest else None
            if control is None:
                continue
            if release.release_counter > control.release_counter:
                hint = "roll it out in waves instead"
                why = f"'{release.version}' raises the release counter: no station could go back to '{control.version}'"
                raise RefusedError(why, hint=hint)
            return control
        raise RefusedError(
            f"no station runs a released version other than '{release.version}' to hold it against",
            hint="roll the version out in waves instead",
        )
