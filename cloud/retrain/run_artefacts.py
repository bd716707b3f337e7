"""Which of a run's artefacts a bundle carries: the one that ships first, others behind it with thresholds of their own."""

from __future__ import annotations

from collections.abc import Sequence

from cloud.quantize.artefact_runner import ArtefactRunner
from cloud.quantize.scheme import RULES, Scheme
from cloud.registry.blobs import sha256_of
from cloud.retrain.run_folder import RunFolder
from cloud.retrain.run_output import output_of
from cloud.retrain.run_records import ArtefactFigures, QuantizeReport, RunInfo
from contract.errors import BadModel, InvalidConfig
from contract.golden_behind import first_disagreement
from contract.manifest import Artefact, RuntimeKind


def artefacts_of(info: RunInfo, quantized: QuantizeReport, also: Sequence[str] = ()) -> tuple[Artefact, ...]:
    """Return a bundle's artefacts, the one that ships first.

    Args:
        also: further ones in their order: a scheme ("s8s8"), a precision ("fp16", "fp32") or a file name.
    Raises:
        InvalidConfig: there is no such artefact, or it lost more accuracy than quantization was told to allow.
    """
    chosen = [next(each for each in quantized.artefacts if each.file == quantized.ships)]
    for name in also:
        found = next((each for each in quantized.artefacts if name in (each.scheme, each.precision, each.file)), None)
        if found is None:
            known = ", ".join(each.scheme or each.precision for each in quantized.artefacts)
            raise InvalidConfig(
                f"the run has no artefact '{name}', but {known}",
                hint="quantize with --schemes u8s8,s8s8 or --fp16 first",
            )
        if not found.passes:
            raise InvalidConfig(
                f"{found.file} loses too much accuracy to be released: {found.judged_accuracy:.4f} on the calibration split",
                hint="leave it out, or quantize with a larger --max-drop",
            )
        if found not in chosen:
            chosen.append(found)
    return tuple(_artefact(info, each, rank == 0) for rank, each in enumerate(chosen))


def check_behind(run: RunFolder, artefacts: Sequence[Artefact]) -> None:
    """Check that artefacts behind the first, which the gate did not look at, are the files whose figures say that they may be
    there; and what every station's self-test will: they name clear golden inputs as the first one does.

    Raises:
        BadModel: one is another file by now, names one otherwise, or does not load.
    """
    if len(artefacts) < 2:
        return
    info = run.info()
    measured = {each.file: each.sha256 for each in run.quantize_report().artefacts}
    for artefact in artefacts[1:]:
        if measured.get(artefact.file) and measured[artefact.file] != sha256_of(run.root / artefact.file):
            raise BadModel(f"{artefact.file} has changed since it was measured", hint="quantize the run again")
    pixels, scores = run.load_golden()
    for artefact in artefacts[1:]:
        if artefact.thresholds is None:
            continue
        mine = ArtefactRunner(run.root / artefact.file, info.preprocess).scores(list(pixels))
        at = first_disagreement(mine, scores, artefact.output)
        if at is not None:
            raise BadModel(
                f"{artefact.file} names golden input {at} otherwise than {artefacts[0].file}, which is sure of it",
                hint="leave it out of the release",
            )


def _artefact(info: RunInfo, figures: ArtefactFigures, first: bool) -> Artefact:
    scheme = next((each for each in Scheme if each.value == figures.scheme), None)
    return Artefact(
        figures.file,
        RuntimeKind.ONNX,
        RULES[scheme].precision if scheme is not None else figures.precision,
        output_of(info),
        scheme=figures.scheme,
        # The manifest's are the first one's.
        thresholds=None if first else figures.thresholds,
        embedding=info.embedding,
        activation_map=info.activation_map,
    )
