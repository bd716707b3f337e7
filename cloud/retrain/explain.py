"""What of an image made a full-precision model say what it said, for a person to look at.

`python -m cloud.retrain.explain JOB.json` is the same in a process of its own.
Sources: Sundararajan, Taly & Yan 2017 (integrated gradients) and Zeiler & Fergus 2014 (occlusion), both as Captum has them; Zhou
et al. 2016 (class activation maps).
"""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torch.nn import functional

from cloud.retrain.images import load_image
from cloud.retrain.network import network_of
from cloud.retrain.progress import OnProgress, Progress, ignore_progress, print_progress, run_job
from cloud.retrain.run_folder import RunFolder, publish
from cloud.retrain.run_records import Head
from contract.activation_map import ActivationMap, summarise
from contract.errors import BadModel, InvalidConfig
from contract.overlay import overlay
from contract.preprocess import preprocess

_STEPS = 32
# Integrated gradients take the image and every step toward it at once; so many fit into little memory.
_AT_ONCE = 8
# An occluding square is a quarter of the image's side, moved by a third of itself: what covers part of a defect changes no score
# of a network that looks at each feature's strongest response.
_SQUARES = 4
_MOVES = 3
_SMOOTHED = 8


class Method(str, Enum):
    """ACTIVATION_MAP: where the network's last features speak for the label, at once. INTEGRATED_GRADIENTS: which pixels move the
    label's score, up or down, on the way from a mean image. OCCLUSION: how far the score falls when a square is covered."""

    ACTIVATION_MAP = "activation-map"
    INTEGRATED_GRADIENTS = "integrated-gradients"
    OCCLUSION = "occlusion"


class ExplainJob(msgspec.Struct, frozen=True):
    """Which image of which run. `label`: the answer to explain, None for the model's own. `out`: the picture to write."""

    run: str
    image: str
    out: str
    method: Method = Method.OCCLUSION
    label: str | None = None
    threads: int = 2


class Explanation(msgspec.Struct, frozen=True):
    """What came of a job. `said`: the model's own answer, with its probability; `looked` is of `label`, None where nothing speaks
    for it."""

    label: str
    said: str
    confidence: float
    method: Method
    looked: ActivationMap | None


def explain(job: ExplainJob, on_progress: OnProgress = ignore_progress) -> Explanation:
    """Explain one answer: write the picture `job.out` (PNG) and the explanation beside it (JSON), and return it.

    Raises:
        NotFound: there is no such run.
        BadImage: the image cannot be read.
        BadModel: the network has no activation map, or gives no numbers.
        InvalidConfig: the model has no such label, or the picture cannot be written.
    """
    torch.set_num_threads(job.threads)
    run = RunFolder(Path(job.run))
    info = run.info()
    pixels = load_image(Path(job.image)).pixels
    on_progress(Progress("explain", 0, 1, job.method.value))
    network = network_of(run).eval()
    images = torch.from_numpy(np.asarray(preprocess(pixels, info.preprocess)))
    with torch.no_grad():
        scores = network(images).scores[0]
    shares = scores.sigmoid() if info.recipe.head is Head.MULTI else scores.softmax(0)
    if not torch.isfinite(shares).all():
        raise BadModel(f"{run.root} gives no numbers for {job.image}")
    names = [label.name for label in info.labels]
    index = int(shares.argmax()) if job.label is None else _index_of(job.label, names)
    said = int(shares.argmax())
    looked = summarise(names[index], _evidence(network, images, index, job.method))
    found = Explanation(names[index], names[said], round(float(shares[said]), 4), job.method, looked)
    _write(Path(job.out), pixels, found)
    on_progress(Progress("explain", 1, 1, job.out))
    return found


def main(arguments: list[str] | None = None) -> int:
    """Explain as the job file, the only argument, says."""
    given = sys.argv[1:] if arguments is None else arguments
    if len(given) != 1:
        print("usage: python -m cloud.retrain.explain JOB.json", file=sys.stderr)
        return 2
    return run_job(lambda: explain(_read_job(Path(given[0])), print_progress))


def read_explanation(out: Path) -> Explanation:
    """Return the explanation that lies beside the picture `out`.

    Raises:
        BadModel: it is not there, or damaged.
    """
    try:
        return msgspec.json.decode(out.with_suffix(".json").read_bytes(), type=Explanation)
    except (OSError, msgspec.DecodeError) as error:
        raise BadModel(f"no explanation beside {out}: {error}", hint="explain the image again") from error


class _ScoresOf(nn.Module):
    """A network that answers logits alone, as Captum wants it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.network(images).scores
        return scores


def _evidence(network: nn.Module, images: torch.Tensor, index: int, method: Method) -> NDArray[np.float32]:
    """Return f32[h,w], how much each place speaks for label `index`."""
    if method is Method.ACTIVATION_MAP:
        with torch.no_grad():
            maps = network(images).activation_map
        if maps is None:
            raise BadModel("this network has no activation map", hint="use occlusion or integrated-gradients")
        return np.asarray(maps[0, index].numpy(), np.float32)
    # Here, for it takes a second to import.
    from captum.attr import IntegratedGradients, Occlusion

    scores = _ScoresOf(network)
    if method is Method.INTEGRATED_GRADIENTS:
        # The mean image is all zeros after scaling.
        given = IntegratedGradients(scores).attribute(
            images, target=index, n_steps=_STEPS, internal_batch_size=_AT_ONCE, method="riemann_middle"
        )
    else:
        side = max(2, images.shape[2] // _SQUARES)
        given = Occlusion(scores).attribute(
            images,
            (images.shape[1], side, side),
            strides=(images.shape[1], max(1, side // _MOVES), max(1, side // _MOVES)),
            target=index,
            perturbations_per_eval=_AT_ONCE,
        )
    evidence = given.detach().sum(1, keepdim=True)
    if method is Method.INTEGRATED_GRADIENTS:
        # Pixel by pixel it is grain that no eye can read; neighbours say together what they speak for.
        side = 2 * (images.shape[2] // _SMOOTHED // 2) + 1
        evidence = functional.avg_pool2d(evidence.abs(), side, 1, side // 2)
    return np.asarray(evidence[0, 0].numpy(), np.float32)


def _index_of(label: str, names: list[str]) -> int:
    if label not in names:
        raise InvalidConfig(f"the model has no label '{label}'", hint=f"its labels are {', '.join(names)}")
    return names.index(label)


def _write(out: Path, pixels: NDArray[np.uint8], found: Explanation) -> None:
    shown = overlay(pixels, found.looked) if found.looked is not None else pixels
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        for path in (out, out.with_suffix(".json")):
            temporary = path.with_name(f"{path.name}.tmp")
            if path is out:
                Image.fromarray(shown).save(temporary, format="PNG")
            else:
                temporary.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=2))
            publish(temporary, path)
    except OSError as error:
        raise InvalidConfig(f"cannot write {out}: {error.strerror}", hint="choose a folder you may write") from error


def _read_job(file: Path) -> ExplainJob:
    try:
        return msgspec.json.decode(file.read_bytes(), type=ExplainJob)
    except (OSError, msgspec.DecodeError) as error:
        raise InvalidConfig(f"{file} is no explain job: {error}", hint="use 'plumbline-cloud explain'") from error


if __name__ == "__main__":
    sys.exit(main())
