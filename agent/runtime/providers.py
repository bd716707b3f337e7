"""Which ONNX Runtime provider runs an artefact, and a session opened on it; a provider that fails is never silent."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from contract.errors import BadModel
from contract.manifest import Artefact

WANTED = ("auto", "cpu", "cuda", "tensorrt")


class Provider(str, Enum):
    """Where an artefact runs, by ONNX Runtime's names."""

    TENSORRT = "TensorrtExecutionProvider"
    CUDA = "CUDAExecutionProvider"
    CPU = "CPUExecutionProvider"


# int8 as DESIGN 7 makes it for CPUs (U8S8) is no food for a GPU: TensorRT takes symmetric S8S8 only, and CUDA has no int8 kernels
# for most nodes. An unknown precision is of the CPU, which runs everything.
_ALLOWED: dict[str, tuple[Provider, ...]] = {
    "fp32": (Provider.TENSORRT, Provider.CUDA, Provider.CPU),
    "fp16": (Provider.TENSORRT, Provider.CUDA, Provider.CPU),
    "int8-symmetric": (Provider.TENSORRT, Provider.CPU),
}
_BY_NAME = {"cpu": Provider.CPU, "cuda": Provider.CUDA, "tensorrt": Provider.TENSORRT}


@dataclass(frozen=True, slots=True)
class Choice:
    """`provider` runs the artefact; `meanwhile` serves until a TensorRT engine is built. `why` is "" when it is what was asked."""

    provider: Provider
    meanwhile: Provider
    why: str = ""


def choose_provider(wanted: str, available: Collection[str], artefact: Artefact) -> Choice:
    """Return where `artefact` shall run.

    Args:
        wanted: one of WANTED; "auto" is the fastest that is there and allowed.
        available: ONNX Runtime's names of what this build of it has.
    """
    allowed = _ALLOWED.get(artefact.precision, (Provider.CPU,))
    there = [p for p in allowed if p.value in available or p is Provider.CPU]
    meanwhile = next(p for p in there if p is not Provider.TENSORRT)
    if wanted == "auto":
        return Choice(there[0], meanwhile)
    asked = _BY_NAME[wanted]
    if asked in there:
        return Choice(asked, meanwhile if asked is Provider.TENSORRT else asked)
    if asked not in allowed:
        why = f"{wanted} does not run {artefact.precision} artefacts"
    else:
        why = f"this ONNX Runtime has no {asked.value}"
    return Choice(meanwhile, meanwhile, why)


@dataclass(frozen=True, slots=True)
class OpenedSession:
    """A session, the provider it truly runs on, and why that is not the one asked for ("" when it is)."""

    session: Any
    provider: Provider
    why: str


def open_session(
    path: Path,
    provider: Provider,
    *,
    threads: int,
    precision: str = "fp32",
    engines: Path | None = None,
    make: Callable[..., Any] | None = None,
) -> OpenedSession:
    """Return `path` opened on `provider`, or on the CPU when that fails.

    Args:
        threads: of the CPU's share; they wait, and do not spin, between frames.
        engines: a folder of TensorRT engines built for exactly this model and device.
        make: what makes a session; onnxruntime.InferenceSession when None.
    Raises:
        BadModel: the CPU cannot open it either.
    """
    faults = session_faults(path.name)
    if make is None:
        import onnxruntime

        make = onnxruntime.InferenceSession
    why = ""
    for candidate in dict.fromkeys((provider, Provider.CPU)):
        try:
            # Without enable_fallback=0 ONNX Runtime prints a banner, goes on with another provider and says nothing to us.
            session = make(
                str(path),
                _options(threads),
                providers=_provider_list(candidate, precision, engines),
                enable_fallback=0,
            )
        except faults as error:
            if candidate is Provider.CPU:
                raise BadModel(f"'{path.name}' does not load: {brief(error)}", hint="export the model again") from error
            why = f"{candidate.value} does not start: {brief(error)}"
            continue
        if candidate.value in session.get_providers():
            return OpenedSession(session, candidate, why)
        # A provider whose libraries are missing is dropped with no more than a line in ONNX Runtime's own log.
        why = f"{candidate.value} was left out by ONNX Runtime: its libraries do not load"
        del session
    raise BadModel(f"'{path.name}' does not load on the CPU", hint="install ONNX Runtime again")


def available_providers() -> tuple[str, ...]:
    """Return what this ONNX Runtime was built with (which does not say that it works here); () when there is none."""
    try:
        import onnxruntime
    except ImportError:
        return ()
    return tuple(str(name) for name in onnxruntime.get_available_providers())


def session_faults(name: str) -> tuple[type[Exception], ...]:
    """Return what ONNX Runtime raises; its exceptions share no base but Exception.

    Raises:
        BadModel: ONNX Runtime, which `name` needs, does not import.
    """
    try:
        from onnxruntime.capi import onnxruntime_pybind11_state as state
    except ImportError as error:
        raise BadModel(
            f"'{name}' needs ONNX Runtime, which does not import: {error}", hint="pip install 'plumbline-edge[agent]'"
        ) from error
    named = (getattr(state, fault, None) for fault in _FAULTS)
    return (RuntimeError, ValueError, *(fault for fault in named if fault is not None))


def brief(error: Exception) -> str:
    """Return the error's words on one line, cut."""
    return " ".join(str(error).split())[:300]


_FAULTS = (
    "Fail",
    "InvalidArgument",
    "NoSuchFile",
    "NoModel",
    "EngineError",
    "RuntimeException",
    "InvalidProtobuf",
    "ModelLoaded",
    "NotImplemented",
    "InvalidGraph",
    "EPFail",
)


def _options(threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    # A spinning pool burns a whole core between frames; a station has other work for it.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # One image size, always: the arena grows once and is then reused, so memory stays flat.
    options.enable_cpu_mem_arena = True
    options.enable_mem_pattern = True
    options.log_severity_level = 4
    return options


def _provider_list(provider: Provider, precision: str, engines: Path | None) -> list[tuple[str, dict[str, str]]]:
    cpu: tuple[str, dict[str, str]] = (Provider.CPU.value, {})
    # Grow by what is asked for, not by doubling: a station's memory is shared with its other models.
    cuda = (Provider.CUDA.value, {"arena_extend_strategy": "kSameAsRequested", "cudnn_conv_algo_search": "HEURISTIC"})
    if provider is Provider.CPU:
        return [cpu]
    if provider is Provider.CUDA:
        return [cuda, cpu]
    return [(Provider.TENSORRT.value, tensorrt_options(precision, engines)), cuda, cpu]


def tensorrt_options(precision: str, engines: Path | None) -> dict[str, str]:
    """Return the TensorRT provider's options; the precision is the artefact's own, so what was gated is what runs."""
    options = {
        "trt_fp16_enable": str(precision == "fp16"),
        "trt_int8_enable": str(precision == "int8-symmetric"),
    }
    if engines is not None:
        options |= {"trt_engine_cache_enable": "True", "trt_engine_cache_path": str(engines)}
    return options
