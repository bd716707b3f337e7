"""From an artefact to a loaded runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.ports.clock import Clock
from agent.ports.runtime import Prepare, Runtime
from agent.runtime.memory_guard import GpuMemoryGuard
from agent.runtime.providers import Choice, Provider, available_providers, choose_provider
from agent.runtime.tensorrt_build import BuildState, EngineBuilds
from agent.runtime.tensorrt_cache import EngineCache
from contract.errors import BadModel, PlumblineError
from contract.manifest import Artefact, Manifest, RuntimeKind
from contract.preprocess import PreprocessSpec

_CPU = Choice(Provider.CPU, Provider.CPU)
_FOR_TENSORRT = "s8s8"


def load_runtime(
    folder: Path, manifest: Manifest, artefact: Artefact, *, threads: int = 1, provider: Provider = Provider.CPU
) -> Runtime:
    """Return `artefact` loaded from `folder` (an unpacked bundle), checked against `manifest` and run once.

    Raises:
        BadModel: the file or its runtime is missing, or the model is not what the manifest says.
    """
    path = folder / artefact.file
    if not path.is_file():
        raise BadModel(f"'{path}' is missing", hint="install the bundle again")
    labels = len(manifest.labels)
    # Each runtime is imported only when a bundle asks for it: a station has one of them, and imports cost start-up time.
    if artefact.runtime is RuntimeKind.ONNX:
        from agent.runtime.onnx import OnnxRuntime

        return OnnxRuntime(
            path,
            manifest.preprocess,
            labels,
            threads=threads,
            provider=provider,
            precision=artefact.precision,
            activation_map=artefact.activation_map,
        )
    from agent.runtime.tflite import TfliteRuntime

    return TfliteRuntime(path, manifest.preprocess, labels, threads=threads)


def load_first(folder: Path, manifest: Manifest, *, threads: int = 1) -> tuple[Runtime, Artefact]:
    """Return the first artefact of `manifest` that loads on the CPU, and which it is.

    Raises:
        BadModel: none does; the message is the first one's.
    """
    return _first(manifest, lambda artefact: load_runtime(folder, manifest, artefact, threads=threads))


class ModelLoader:
    """Loads a station's models on the provider its settings ask for; what could not be had is said, once a load."""

    def __init__(
        self,
        say: Callable[[str], None],
        clock: Clock,
        *,
        threads: int = 1,
        provider: str = "auto",
        engines: Path,
        engines_max_bytes: int = 512 << 20,
        build_within_s: float = 1800.0,
        guard: GpuMemoryGuard | None = None,
    ) -> None:
        """`provider` is one of providers.WANTED; `engines` the folder of TensorRT engines, made when first needed.

        `guard` says when the GPU must not be given any more of the machine's memory: None lets it have all.
        """
        self._say = say
        self._clock = clock
        self._threads = threads
        self._provider = provider
        self._engines = engines
        self._engines_max_bytes = engines_max_bytes
        self._build_within_s = build_within_s
        self._builds: EngineBuilds | None = None
        self._guard = guard or GpuMemoryGuard()

    def load(self, folder: Path, manifest: Manifest) -> tuple[Runtime, Artefact]:
        """Return the first artefact of `manifest`, `in_order` for this station, that loads, and which it is.

        Raises:
            BadModel: none does; the message is the first one's.
        """
        return _first(
            manifest, lambda artefact: self._load(folder, manifest, artefact), self._say, self._has_tensorrt()
        )

    def engine_states(self) -> dict[str, BuildState]:
        """Return how the TensorRT engines of late stand, by key."""
        return self._builds.states() if self._builds is not None else {}

    def prepare_for(self, spec: PreprocessSpec) -> Prepare | None:
        """Return what prepares frames where the station may use a GPU; None: plainly on the CPU."""
        gpu = {"CUDAExecutionProvider", "TensorrtExecutionProvider"} & set(available_providers())
        if self._provider == "cpu" or not gpu or self._guard.session_lack(0):
            return None
        from agent.runtime.cuda_preprocess import open_cuda_preprocess
        from agent.runtime.preparing import MeasuredPreprocess
        from agent.runtime.preprocess_choice import ChoiceFile, ChosenPreprocess, choose_preprocess

        kept = self._engines.parent / "preprocess"

        def choose(pixels: NDArray[np.uint8]) -> ChosenPreprocess:
            choices = ChoiceFile(kept / "choices.json")
            return choose_preprocess(
                spec, lambda: open_cuda_preprocess(spec, kept), choices, pixels, self._clock, self._say
            )

        return MeasuredPreprocess(spec, choose, self._say)

    def close(self) -> None:
        """Stop building."""
        if self._builds is not None:
            self._builds.close()

    def _has_tensorrt(self) -> bool:
        return self._provider in ("auto", "tensorrt") and Provider.TENSORRT.value in available_providers()

    def _load(self, folder: Path, manifest: Manifest, artefact: Artefact) -> Runtime:
        choice = _CPU
        if artefact.runtime is RuntimeKind.ONNX and self._provider != "cpu":
            choice = choose_provider(self._provider, available_providers(), artefact)
            choice = self._within_memory(choice, folder / artefact.file, manifest)
        runtime = load_runtime(folder, manifest, artefact, threads=self._threads, provider=choice.meanwhile)
        if getattr(runtime, "provider", Provider.CPU) is not Provider.CPU:
            self._guard.opened()
        why = choice.why or str(getattr(runtime, "why", ""))
        if why:
            self._say(f"'{artefact.file}' runs on {getattr(runtime, 'provider', Provider.CPU).value}: {why}")
        if choice.provider is not Provider.TENSORRT:
            return runtime
        return self._on_tensorrt(folder, manifest, artefact, runtime)

    def _within_memory(self, choice: Choice, path: Path, manifest: Manifest) -> Choice:
        """Return `choice`, or the CPU where the GPU's share of the memory would be the station's end."""
        if choice.provider is Provider.CPU:
            return choice
        lack = self._guard.session_lack(_size_of(path), manifest.resources.memory_mib)
        return Choice(Provider.CPU, Provider.CPU, lack) if lack else choice

    def _on_tensorrt(self, folder: Path, manifest: Manifest, artefact: Artefact, runtime: Runtime) -> Runtime:
        from agent.runtime.device_facts import read_engine_facts
        from agent.runtime.onnx import OnnxRuntime
        from agent.runtime.upgrading import UpgradingRuntime

        path = folder / artefact.file
        try:
            if self._builds is None:
                cache = EngineCache(self._engines, max_bytes=self._engines_max_bytes)
                self._builds = EngineBuilds(
                    cache,
                    self._clock,
                    self._say,
                    within_s=self._build_within_s,
                    why_not=lambda model: self._guard.build_lack(_size_of(model)),
                )
            facts = read_engine_facts(path, artefact.precision)
        except (PlumblineError, OSError) as error:
            self._say(f"no TensorRT for '{artefact.file}': {error}")
            return runtime
        serving = UpgradingRuntime(runtime, self._say)

        def take_up(engines: Path) -> None:
            faster = OnnxRuntime(
                path,
                manifest.preprocess,
                len(manifest.labels),
                threads=self._threads,
                provider=Provider.TENSORRT,
                precision=artefact.precision,
                engines=engines,
                activation_map=artefact.activation_map,
            )
            if faster.provider is not Provider.TENSORRT:
                faster.close()
                raise BadModel(faster.why)
            self._guard.opened()
            serving.upgrade(faster)

        self._builds.request(facts.key(), path, artefact.precision, take_up)
        return serving


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0  # loading it says what is wrong


def in_order(manifest: Manifest, *, tensorrt: bool) -> tuple[Artefact, ...]:
    """Return `manifest`'s artefacts in the order in which to try them.

    The first one is the one to run, but for an S8S8 one, made for TensorRT: there it comes before all others; elsewhere, unless it
    is the first itself, behind them, as a CPU may take longer for it than for full precision.
    """
    if tensorrt:
        return tuple(sorted(manifest.artefacts, key=lambda artefact: artefact.scheme != _FOR_TENSORRT))
    first, *others = manifest.artefacts
    return (first, *sorted(others, key=lambda artefact: artefact.scheme == _FOR_TENSORRT))


def _first(
    manifest: Manifest,
    load: Callable[[Artefact], Runtime],
    say: Callable[[str], None] = lambda _: None,
    tensorrt: bool = False,
) -> tuple[Runtime, Artefact]:
    first: BadModel | None = None
    for artefact in in_order(manifest, tensorrt=tensorrt):
        try:
            loaded = load(artefact)
        except BadModel as error:
            first = first or error
            continue
        if first is not None:
            say(f"'{artefact.file}' is taken instead: {first.one_line()}")
        return loaded, artefact
    raise first or BadModel("the bundle has no artefact")
