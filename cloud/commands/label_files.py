"""Labels in files: Label Studio's JSON export, a line of JSON a label, and what a dataset's images disagree on.

Label Studio's formats: https://labelstud.io/guide/tasks (tasks) and https://labelstud.io/guide/export (annotations).
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import msgspec

from cloud.ports.samples import Sample
from cloud.review.agreement import ActKind, LabelAct
from cloud.review.label_choice import LabelChoice
from cloud.review.spreadsheet import guarded
from cloud.review.why_asked import why_asked
from cloud.store.labels import GivenLabel
from contract.errors import BadDataset, RefusedError
from contract.ids import is_digest

_MAX_BYTES = 256 << 20
_MAX_CHARS = 120
# Zones and clocks differ by less.
_AHEAD_S = 86_400.0
_LATEST_S = 32_503_680_000.0


class _Choices(msgspec.Struct):
    choices: tuple[str, ...] = ()


class _Result(msgspec.Struct):
    value: _Choices | None = None
    type: str = ""


class _Annotation(msgspec.Struct):
    """`completed_by`: a user's number or e-mail, or in some exports the user."""

    result: tuple[_Result, ...] = ()
    completed_by: int | str | dict[str, Any] | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    was_cancelled: bool | None = False


class _Task(msgspec.Struct):
    annotations: tuple[_Annotation, ...]
    data: dict[str, Any] = {}
    id: int | str | None = None


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    sample: str
    label: str | tuple[str, ...]
    labeller: str
    labelled_at: float | datetime


class _Said(msgspec.Struct):
    labels: tuple[str, ...] = ()
    labeller: str = ""
    labelled_at: float | None = None


class _Disagreement(msgspec.Struct):
    sha256: str
    labels: tuple[_Said, ...]
    file: str = ""


@dataclass(frozen=True, slots=True)
class SentBack:
    """An image of a dataset whose labels disagree: by its hash, what was said with a name and a time, and a note of it all.

    `sha256`: of the frame that it was exported from where its file's name is one, as `review export` writes it.
    """

    sha256: str
    acts: tuple[LabelAct, ...]
    note: str


def label_studio_tasks(samples: Sequence[Sample], prefix: str) -> list[dict[str, Any]]:
    """Return a task for each sample; `prefix` + its image's name under images/ is where Label Studio finds it."""
    return [
        {
            "data": {
                "image": f"{prefix}images/{each.image_sha256}.png",
                "sample": each.sample,
                "station": each.station,
                "camera": each.camera,
                "part": each.part,
                "captured_at": each.captured_at,
                "why": why_asked(each.reason, each.novelty, each.again),
            }
        }
        for each in samples
    ]


def labels_csv(acts: Mapping[str, Sequence[LabelAct]], samples: Mapping[str, Sample]) -> str:
    """Return every act about each frame as a table, a line an act, for a spreadsheet: no cell is run as a formula."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("sample", "station", "camera", "part", "act", "label", "labeller", "at", "stands"))
    for name in sorted(acts):
        found = samples.get(name)
        about = (found.station, found.camera, found.part) if found else ("", "", "")
        for act in acts[name]:
            at = datetime.fromtimestamp(act.at, timezone.utc).isoformat(timespec="seconds")
            truth = found.truth or "" if found else ""
            cells = (name, *about, act.kind.value, act.label, act.labeller, at, truth)
            table.writerow([guarded(cell) for cell in cells])
    return text.getvalue()


def label_studio_config(choice: LabelChoice) -> str:
    """Return the labelling interface for these labels (Label Studio: Settings, Labeling Interface, Code)."""
    choices = "".join(f"    <Choice value={quoteattr(label)}/>\n" for label in choice.names)
    how = "multiple" if choice.several else "single"
    return (
        '<View>\n  <Image name="image" value="$image"/>\n  <Text name="why" value="$why"/>\n'
        f'  <Choices name="label" toName="image" choice="{how}" required="true">\n{choices}  </Choices>\n</View>\n'
    )


def local_files_prefix(folder: Path) -> str:
    """Return the prefix under which Label Studio serves the files of `folder` when its document root is the folder above."""
    return f"/data/local-files/?d={quote(folder.resolve().name)}/"


def read_label_studio(file: Path, names: Mapping[str, str], choice: LabelChoice) -> list[GivenLabel]:
    """Return what is said in a JSON export of Label Studio, once an annotation; those skipped or left empty are left out.

    Args:
        names: who a user's number or e-mail is; others go by their e-mail, or as "labelstudio:NUMBER".
        choice: what may be said.
    Raises:
        BadDataset: it is no such export, an annotation lacks its author, its time or its sample, or its labels may not be said.
    """
    content = _read(file)
    try:
        tasks = msgspec.json.decode(content, type=tuple[_Task, ...])
    except (msgspec.DecodeError, RecursionError) as error:
        hint = "export the project as JSON (not JSON-MIN, CSV or COCO)"
        raise BadDataset(f"{file} is no JSON export of Label Studio: {error}", hint=hint) from error
    note = _note(content)
    given = []
    for number, task in enumerate(tasks):
        where = f"{file}: task {task.id if task.id is not None else number}"
        for annotation in task.annotations:
            chosen = [choice for result in annotation.result if result.value for choice in result.value.choices]
            if annotation.was_cancelled or not chosen:
                continue
            sample = task.data.get("sample")
            if not isinstance(sample, str) or not sample:
                hint = "make its tasks with: plumbline-cloud review export --format labelstudio"
                raise BadDataset(f"{where} names no sample", hint=hint)
            at = annotation.updated_at or annotation.created_at
            if at is None:
                raise BadDataset(f"{where} does not say when it was labelled")
            label = _said(where, chosen, choice)
            given.append(_given(where, sample, label, _who(where, annotation, names), _unix(at), note))
    return given


def read_jsonl(file: Path, choice: LabelChoice) -> list[GivenLabel]:
    """Return what is said in a file, a line each: {"sample", "label", "labeller", "labelled_at"}, Unix seconds or ISO 8601.

    `label` is the name of a label, several as `choice` has them stored ("dent;scratch"), or a list of names.

    Raises:
        BadDataset: a line is none, or says what may not be said; its number is named.
    """
    content = _read(file)
    given, note = [], _note(content)
    for number, line in enumerate(content.splitlines(), 1):
        if line.strip():
            where = f"{file} line {number}"
            try:
                read = msgspec.json.decode(line, type=_Line)
            except (msgspec.DecodeError, RecursionError) as error:
                hint = 'a line is {"sample": "...", "label": "...", "labeller": "ann", "labelled_at": 1795200000}'
                raise BadDataset(f"{where} is no label: {error}", hint=hint) from error
            at = read.labelled_at
            at = at if isinstance(at, float) else _unix(at)
            given.append(_given(where, read.sample, _said(where, read.label, choice), read.labeller, at, note))
    return given


def read_disagreements(file: Path) -> list[SentBack]:
    """Return the images of a disagreements.jsonl, as `dataset make` writes it.

    Raises:
        BadDataset: a line is none; its number is named.
    """
    found = []
    for number, line in enumerate(_read(file).splitlines(), 1):
        if line.strip():
            try:
                read = msgspec.json.decode(line, type=_Disagreement)
            except (msgspec.DecodeError, RecursionError) as error:
                hint = "give the disagreements.jsonl that 'plumbline-cloud dataset make' writes"
                raise BadDataset(f"{file} line {number} is no disagreement: {error}", hint=hint) from error
            said = sorted({(each.labels, each.labeller, each.labelled_at or 0.0) for each in read.labels})
            # A frame of the store has one label: who gave an image several said nothing that could stand here.
            acts = tuple(
                _given(f"{file} line {number}", "", each.labels[0], each.labeller, each.labelled_at, "").act
                for each in read.labels
                if len(each.labels) == 1 and each.labeller and each.labelled_at is not None
            )
            stem = PurePosixPath(read.file).stem
            sha256 = stem if is_digest(stem) else read.sha256
            found.append(SentBack(sha256, acts, _note(msgspec.json.encode(said))))
    return found


def sent_back(found: SentBack, sample: str, actor: str, choice: LabelChoice) -> list[GivenLabel]:
    """Return the acts by which a sample goes back to the queue: what people said of it, as far as `choice` knows the label, and
    that it is sent back."""
    known = [act for act in found.acts if not choice.names or act.label in choice.names]
    said = [replace(act, label=choice.check_all([act.label])) for act in known]
    acts = [*said, LabelAct(0.0, actor, "", ActKind.RETURN)]
    return [GivenLabel(sample, act, found.note) for act in acts]


def check_times(acts: Iterable[LabelAct], now: float, file: Path) -> None:
    """Raise BadDataset where an act is of later than a day after `now`: it would outlive every later word of its labeller."""
    late = max((act.at for act in acts), default=now)
    if late > now + _AHEAD_S:
        day = datetime.fromtimestamp(min(late, _LATEST_S), timezone.utc).date()
        raise BadDataset(f"{file} has a label of {day}, which is yet to come", hint="set right its time, or this clock")


def _read(file: Path) -> bytes:
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise BadDataset(f"{file} is larger than {_MAX_BYTES >> 20} MiB", hint="import it in parts")
        return file.read_bytes().removeprefix(codecs.BOM_UTF8)
    except OSError as error:
        raise BadDataset(f"cannot read {file}: {error.strerror}", hint="check the path") from error


def _given(where: str, sample: str, label: str, labeller: str, at: float, note: str) -> GivenLabel:
    for name, text in (("label", label), ("labeller", labeller)):
        _check_shown(where, name, text)
    if not 0.0 <= at < 1e11:
        raise BadDataset(f"{where}: {at:g} is no time", hint="use Unix seconds or ISO 8601")
    return GivenLabel(sample, LabelAct(at, labeller, label), note)


def _check_shown(where: str, name: str, text: str) -> None:
    if not 0 < len(text) <= _MAX_CHARS:
        raise BadDataset(f"{where}: a {name} has 1 to {_MAX_CHARS} characters")
    if not text.isprintable():
        raise BadDataset(f"{where}: the {name} {text!a} cannot be shown", hint="write it in plain letters")


def _said(where: str, label: str | Sequence[str], choice: LabelChoice) -> str:
    """Return what is said as it is stored; a list names labels whatever they hold."""
    _check_shown(where, "label", label if isinstance(label, str) else "".join(label))
    try:
        return choice.check(label) if isinstance(label, str) else choice.check_all(label)
    except RefusedError as error:
        raise BadDataset(f"{where}: {error.message}", hint=error.hint) from error


def _who(where: str, annotation: _Annotation, names: Mapping[str, str]) -> str:
    by = annotation.completed_by
    known = [str(by.get(key)) for key in ("email", "id") if by.get(key)] if isinstance(by, dict) else [str(by)]
    if by is None or not known:
        raise BadDataset(f"{where} does not say who labelled it", hint="export with completed_by")
    named = next((names[each] for each in known if each in names), None)
    return named or (known[0] if "@" in known[0] else f"labelstudio:{known[0]}")


def _unix(at: datetime) -> float:
    # Label Studio writes UTC; where it leaves the zone out it means that.
    return (at if at.tzinfo else at.replace(tzinfo=timezone.utc)).timestamp()


def _note(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
