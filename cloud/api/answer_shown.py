"""What the model said of a part, told to a person only once they said what it is themselves."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from cloud.api.images import read_looked, read_pixels
from cloud.ports.registry import FullPrecision, ImageFiles
from cloud.ports.samples import Sample
from cloud.review.agreement import newest_label, standing_acts
from cloud.store.samples import Samples
from contract.activation_map import ActivationMap
from contract.errors import NotFound, PlumblineError, RefusedError
from contract.overlay import overlay


@dataclass(frozen=True, slots=True)
class CloudVerdict:
    """What the full-precision model says of a part now; `trouble` where it says nothing, and why."""

    label: str = ""
    confidence: float = 0.0
    model: str = ""
    trouble: str = ""


def check_may_see_answer(samples: Samples, sample: str, labeller: str) -> Sample:
    """Return the sample where `labeller` may see what the model said of it.

    Who sees where the model looked tends to look there, and at nothing else: so not before the label, not while people disagree
    (a further person is asked), and not before a second person who is asked has spoken, unless one labelled it oneself.

    Raises:
        NotFound: no such sample, or its pixels have not come.
        RefusedError: not yet; the message says what has to be first.
    """
    found = samples.get(sample)
    if found.truth is None:
        raise RefusedError(
            "it has no label yet: label it first, then see where the model looked",
            hint="what people disagree on waits for a further person",
        )
    said = {act.labeller for act in standing_acts(samples.labels.of(sample))}
    if labeller not in said and samples.labels.wants_second_look(sample):
        raise RefusedError("a second person is asked about it: whoever labelled it adds ?labeller=NAME")
    if found.image_sha256 is None:
        raise NotFound(f"the pixels of '{sample}' have not come")
    return found


def labelled_by(samples: Samples, sample: str, labeller: str) -> bool:
    """Return whether a label of this person stands on a sample."""
    return newest_label(samples.labels.of(sample), labeller) is not None


def looked_at(images: ImageFiles, found: Sample) -> ActivationMap | None:
    """Return where the station's model looked, None where it does not say.

    Raises:
        NotFound, BadImage, OSError: the image cannot be read, or what it says is no map.
    """
    return read_looked(images.path(found.image_sha256 or "").read_bytes())


def overlay_png(images: ImageFiles, found: Sample) -> bytes | None:
    """Return a PNG of where the station's model looked over the image in grey, None where it does not say.

    Raises:
        NotFound, BadImage, OSError: as `looked_at`.
    """
    data = images.path(found.image_sha256 or "").read_bytes()
    looked = read_looked(data)
    if looked is None:
        return None
    file = io.BytesIO()
    Image.fromarray(overlay(np.ascontiguousarray(read_pixels(data)), looked)).save(file, "PNG")
    return file.getvalue()


def cloud_verdict(models: FullPrecision | None, images: ImageFiles, found: Sample) -> CloudVerdict:
    """Return what the full-precision model behind the station's says of a part."""
    if models is None:
        return CloudVerdict(trouble="no full-precision model is here")
    try:
        pixels = read_pixels(images.path(found.image_sha256 or "").read_bytes())
        model = models.load(found.bundle)
        (said,) = model.predict(model.tensor(pixels))
    except Exception as error:  # noqa: BLE001 - a model raises whatever its runtime does; the page shows what it can
        return CloudVerdict(trouble=str(error))
    if isinstance(said, PlumblineError):
        return CloudVerdict(trouble=said.one_line())
    return CloudVerdict(said.label.name, said.confidence, model.version)
