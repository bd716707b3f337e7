"""A trained model to ONNX, checked against the model it came from."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from cloud.quantize.artefact_runner import open_session
from cloud.retrain.export_graph import name_as_trained, swap_weights
from cloud.retrain.fold import fold_batch_norm
from cloud.retrain.run_folder import publish
from contract.errors import BadModel, PlumblineError

INPUT_NAME = "images"
OUTPUT_NAME = "scores"
EMBEDDING_NAME = "embedding"
MAP_NAME = "activation_map"
# The map costs 0.016 ms of 0.63 in fp32 at 200x200 and width 1 (2.6 %); in int8 from nothing to 0.02 ms of 0.4, over several
# measurements on a busy machine. An embedding is for whoever asks.
DEFAULT_OUTPUTS = (OUTPUT_NAME, MAP_NAME)
# Opset 18 runs on every ONNX Runtime that the agent supports.
_OPSET = 18
# Two runtimes add floats in another order; more than this share of the largest value, or of 1, is another model.
_MAX_ERROR = 1e-3


def export_onnx(
    model: nn.Module,
    example: torch.Tensor,
    file: Path,
    *,
    like: Path | None = None,
    outputs: Sequence[str] = DEFAULT_OUTPUTS,
) -> tuple[str, ...]:
    """Write `model` with batch norm folded in as `file`; the batch size stays free.

    Scores are logits, or probabilities where labels are independent (the sigmoid is then in the graph). Nodes are named by
    where they are in the network; "float."... must stay in floating point, and "stem."... better do on a CPU (name_as_trained).

    Args:
        model: the trained model, on the CPU.
        example: f32[N,C,h,w], a few real images; the exported model must answer them as `model` does.
        file: where to write; replaced whole.
        like: an exported model of the same architecture. Its graph is reused with new weights, which takes milliseconds
            where exporting takes seconds, and keeps tensor names for delta updates (OTA-7).
        outputs: which of a ModelOutput's parts to export; scores always come first, and what the network does not have is
            left out.
    Returns:
        The names of the exported model's outputs, "scores" first.
    Raises:
        BadModel: the model cannot be exported, or the exported model answers otherwise.
    """
    network = fold_batch_norm(model)
    independent = bool(getattr(model, "independent", False))
    with torch.no_grad():
        present = network(example[:1])
    names = (OUTPUT_NAME, *(n for n in (EMBEDDING_NAME, MAP_NAME) if n in outputs and getattr(present, n) is not None))
    folded = _Exported(network, names, independent=independent).eval()
    expected = _answers(model, names, example, independent=independent)
    temporary = file.with_suffix(".tmp.onnx")
    if not (
        like is not None
        and swap_weights(like, folded, names, temporary)
        and _error(temporary, example, expected) <= 1.0
    ):
        _export(folded, example, temporary, names)
        error = _error(temporary, example, expected)
        if not error <= 1.0:
            raise BadModel(
                f"the exported model differs from the trained one by {error:.2g} times what rounding explains",
                hint="install the versions of torch and onnxruntime in constraints.txt",
            )
    publish(temporary, file)
    return names


def check_exports(model: nn.Module, channels: int, input_px: int, scratch: Path) -> None:
    """Export an untrained network to a file that is removed again, so that what cannot ship is known before it is trained.

    Raises:
        BadModel: it cannot be exported.
    """
    file = scratch / "export-check.onnx"
    generator = torch.Generator().manual_seed(0)
    try:
        export_onnx(model, torch.randn(2, channels, input_px, input_px, generator=generator), file)
    except (PlumblineError, OSError):
        raise
    except Exception as error:  # a user's module may refuse to be copied, or to be asked in evaluation mode
        raise BadModel(
            f"the network cannot be exported to ONNX: {type(error).__name__}: {str(error)[:300]}",
            hint="it must let itself be copied (copy.deepcopy) and answer one image in evaluation mode",
        ) from error
    finally:
        for each in (file, file.with_suffix(".tmp.onnx")):
            each.unlink(missing_ok=True)


class _Exported(nn.Module):
    """A network that answers a tuple of tensors, `names`; scores as probabilities where labels are independent."""

    def __init__(self, network: nn.Module, names: Sequence[str], *, independent: bool) -> None:
        super().__init__()
        self.network = network
        self.names = tuple(names)
        self.float_probabilities = nn.Sigmoid() if independent else None

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        output = self.network(images)
        scores = output.scores if self.float_probabilities is None else self.float_probabilities(output.scores)
        return (scores, *(getattr(output, name) for name in self.names[1:]))


def _answers(
    model: nn.Module, names: Sequence[str], example: torch.Tensor, *, independent: bool
) -> list[NDArray[np.float32]]:
    """Return what the network as it was trained answers, before anything was folded."""
    was_training = model.training
    try:
        with torch.no_grad():
            return [part.numpy() for part in _Exported(model, names, independent=independent).eval()(example)]
    finally:
        model.train(was_training)


def _export(model: nn.Module, example: torch.Tensor, file: Path, names: Sequence[str]) -> None:
    try:
        with _quiet():
            torch.onnx.export(
                model,
                # A batch of one would be taken for a constant; two show that it varies.
                (example[:1].repeat(2, 1, 1, 1).contiguous(),),
                str(file),
                dynamo=True,
                external_data=False,
                input_names=[INPUT_NAME],
                output_names=list(names),
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                opset_version=_OPSET,
                verbose=False,
            )
    except (PlumblineError, OSError):
        raise
    except Exception as error:  # torch.export raises what the network's own code raises, too
        first = str(error.__cause__ or error).strip().splitlines() or [type(error).__name__]
        raise BadModel(
            f"the network cannot be exported to ONNX: {first[0][:300]}",
            hint="avoid control flow that depends on values of a tensor, and fixed batch sizes",
        ) from error
    graph = onnx.load(str(file))
    name_as_trained(graph)
    onnx.save(graph, str(file))


def _error(file: Path, example: torch.Tensor, expected: Sequence[NDArray[np.float32]]) -> float:
    """Return the largest difference in units of what rounding explains; NaN where an answer is no number."""
    given: list[Any] = open_session(file, threads=1).run(None, {INPUT_NAME: np.ascontiguousarray(example.numpy())})
    if [g.shape for g in given] != [e.shape for e in expected]:
        return float("inf")
    return max(
        float(np.abs(g - e).max()) / (_MAX_ERROR * max(1.0, float(np.abs(e).max())))
        for g, e in zip(given, expected, strict=True)
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's chatter away from progress lines."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
