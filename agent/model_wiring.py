"""Puts together what judges on a station: the bundle in charge and those to fall back to, and the models beside it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import msgspec

from agent.api.provenance import Manifests
from agent.beside import BesideModels, Wanted
from agent.degrading import Degrading
from agent.health.kernel_files import KernelFiles, is_tegra
from agent.health.memory_room import MemorySensor
from agent.health.process_memory import process_memory_mib
from agent.loading import Model, load_model
from agent.ports.clock import Clock
from agent.ports.log import Log
from agent.ports.memory import Memory
from agent.ports.runtime import Runtime
from agent.ports.slots import BundleSwitch, InstalledBundle
from agent.runtime.load import ModelLoader
from agent.runtime.memory_guard import GpuMemoryGuard
from agent.serving import Serving
from agent.settings import Settings
from agent.slots.ab_slots import Slots
from agent.slots.boot_count import SETTLED_AFTER_S, BootCount
from agent.slots.unpacked import open_archive
from agent.store.running_mark import kernel_boot
from contract.errors import InvalidConfig, NotFound, PlumblineError
from contract.manifest import Artefact, Manifest


class Models:
    """A station's models, their files and what is known of them."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        log: Log,
        stack: ExitStack,
        *,
        switch: BundleSwitch,
        memory: Memory,
        degrading: Degrading,
        roll: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """Load the bundle that boots; `stack` ends what builds engines, `roll` draws uniformly from [0, 1).

        Raises:
            BadBundle: the provisioned bundle is broken.
        """
        self._settings = settings
        self._clock = clock
        self._log = log
        self._memory = memory
        self._roll = roll
        self._told: dict[str, str] | None = None
        self.manifests = Manifests(settings.home_folder / "manifests", clock)
        self._machine_boot = kernel_boot().decode(errors="replace")
        self.slots = Slots(settings.home_folder / "bundles", machine_boot=self._machine_boot)
        self._starts = BootCount(settings.home_folder / "bundles" / "starts")
        self._settles_s: float | None = clock.monotonic() + SETTLED_AFTER_S
        self._loader = self._make_loader()
        stack.callback(self._loader.close)
        self.serving = self._make_serving(switch, degrading)
        self.beside = BesideModels(self._load_beside, log)
        self._want(settings)

    def in_charge(self) -> InstalledBundle | None:
        """Return the bundle that judges."""
        model = self.serving.in_charge
        return model.bundle if model else None

    def manifest_of(self, digest: str) -> Manifest | None:
        """Return the manifest of a bundle that ever ran here."""
        found = self.manifests.find(digest)
        return found[0] if found else None

    def reload(self, reread: Callable[[], Settings]) -> None:
        """Load and unload the models beside the one in charge as [[models]] says now; a mistake there changes nothing."""
        try:
            self._want(reread())
        except InvalidConfig as error:
            self._log.say(f"nothing is reloaded: {error.one_line()}")

    def tell(self) -> None:
        """Keep how the models beside stand where `plumbline-agent status` finds it.

        Raises:
            TransientError: the disk refused; it is tried again by the next call.
        """
        states = self.beside.states()
        if states != self._told:
            self._memory.put("models", msgspec.json.encode(states).decode())
            self._told = states

    def settle(self) -> None:
        """Once the station has run for a while: forget how often it died at its start.

        Raises:
            TransientError: the disk refused; it is tried again by the next call.
        """
        if self._settles_s is not None and self._clock.monotonic() >= self._settles_s:
            self.ended_well()

    def ended_well(self) -> None:
        """Forget how often the station died at its start: it did not this time."""
        self._starts.settled()
        self._settles_s = None

    def _want(self, settings: Settings) -> None:
        paths = [(model, settings.path(model.bundle)) for model in settings.models]
        self.beside.want([Wanted(model.name, str(path), model.camera, _stamp(path)) for model, path in paths])

    def _make_loader(self) -> ModelLoader:
        runtime, files = self._settings.runtime, KernelFiles()
        return ModelLoader(
            self._log.say,
            self._clock,
            threads=self._settings.line.threads,
            provider=runtime.provider,
            engines=self._settings.home_folder / "engines",
            engines_max_bytes=runtime.engines_mib << 20,
            build_within_s=runtime.engine_build_s,
            guard=GpuMemoryGuard(MemorySensor(files).look, shared=is_tegra(files)),
        )

    def _make_serving(self, switch: BundleSwitch, degrading: Degrading) -> Serving:
        boot_bundles = self._boot_bundles()
        serving = Serving(
            self._load,
            switch,
            self._clock,
            self._log,
            deadline_ms=self._settings.line.deadline_ms,
            previous=boot_bundles[1] if len(boot_bundles) > 1 else None,
            shadow_allowed=lambda: degrading.shadow,
            smaller_wanted=lambda: degrading.smaller_artefact,
            prepare_for=self._loader.prepare_for,
            roll=self._roll,
            memory_mib=process_memory_mib,
            short_of_memory=lambda: degrading.short_of_memory,
        )
        if boot_bundles:
            serving.begin(boot_bundles[0])
        else:
            self._log.say("no bundle is installed yet: every frame is REVIEW until one is")
        return serving

    def _boot_bundles(self) -> list[InstalledBundle]:
        provisioned = self._settings.bundle.path
        if provisioned:
            self.slots.install_local(self._settings.path(provisioned))
        boots = list(islice(self.slots.boot_bundles(), 2))
        try:
            return self._leave_what_kills(boots)
        except PlumblineError as error:
            self._log.say(f"deaths at the start are not counted: {error.one_line()}")
            return boots

    def _leave_what_kills(self, boots: list[InstalledBundle]) -> list[InstalledBundle]:
        """Return what to load: not a bundle with which the station died again and again.

        Deaths on a trial are counted by the trial.
        """
        most = self._settings.bundle.crash_loop
        if not boots or most == 0:
            return boots
        trial = self.slots.trial()
        died = self._starts.begin(boots[0].digest, self._machine_boot, trial.tries if trial else 0)
        if died < most:
            return boots
        often = "once" if died == 1 else f"{died} times in a row"
        why = f"the station died {often} within ten minutes of loading it"
        try:
            mark = self.slots.committed()
            if mark is None or mark.digest != boots[0].digest:
                raise NotFound("the bundle committed last does not boot")  # and it is not the one that dies
            earlier = self.slots.step_back(why)
        except NotFound:
            # A station that lives and judges nothing can be ordered another bundle; one that dies cannot.
            self._log.say(f"bundle {boots[0].digest[:12]} is not loaded: {why}, and there is none before it")
            return []
        self._log.say(f"bundle {boots[0].digest[:12]} is left for {earlier.digest[:12]}: {why}")
        self._starts.begin(earlier.digest, self._machine_boot)
        return [earlier]

    def _load(self, folder: Path, manifest: Manifest) -> tuple[Runtime, Artefact]:
        runtime, artefact = self._loader.load(folder, manifest)
        try:
            self.manifests.keep(folder.name, manifest, artefact.file)
        except OSError as error:
            # P9 is then "not known", which is said; it is no reason not to judge parts.
            self._log.fault("manifests", f"what ran here cannot be noted: {error}")
        return runtime, artefact

    def _load_beside(self, wanted: Wanted) -> Model:
        # Unlinked, not written over: the model that is being replaced may still have its file mapped.
        folder = self._settings.home_folder / "models" / wanted.name
        shutil.rmtree(folder, ignore_errors=True)
        bundle = open_archive(Path(wanted.bundle), folder)
        return load_model(self._load, bundle, prepare_for=self._loader.prepare_for)


def _stamp(path: Path) -> str:
    try:
        found = path.stat()
    except OSError:
        return ""  # loading it says what is wrong
    return f"{found.st_ino} {found.st_size} {found.st_mtime_ns}"
