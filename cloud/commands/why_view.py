"""A decision's origin for a person: a short chain, each step further in."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

_MOST_CHECKS, _MOST_RUNS, _MOST_SHOWN, _MOST_TROUBLES = 12, 3, 6, 3


def why_lines(told: dict[str, Any]) -> list[str]:
    """Return at most 60 lines about what `plumbline-cloud why --json` prints."""
    lines = [*_decision(told), *_bundle(told), *_gate(told), *_runs(told)]
    lines += [f"not known: {_short(gap)}" for gap in told["gaps"][:_MOST_TROUBLES]]
    if len(told["gaps"]) > _MOST_TROUBLES:
        lines.append(f"not known: {len(told['gaps']) - _MOST_TROUBLES} more (--json)")
    wrong = [check for check in told["checks"] if not check["holds"]]
    for check in wrong[:_MOST_TROUBLES]:
        lines.append(
            f"DOES NOT MATCH: {check['what']}: on record {_short(check['on_record'], 40)}, found {_short(check['found'], 40)}"
        )
    if len(wrong) > _MOST_TROUBLES:
        lines.append(f"DOES NOT MATCH: {len(wrong) - _MOST_TROUBLES} more (--json)")
    held = len(told["checks"]) - len(wrong)
    if held:
        lines.append(f"verified: {held} of {len(told['checks'])} hashes ({', '.join(_names(told))})")
    return lines


def _decision(told: dict[str, Any]) -> Iterator[str]:
    found, sample = told["decision"], told["sample"]
    if found is None:
        return
    where = "/".join(filter(None, (found["station"] or "a station", found["camera"])))
    part = f", part {_short(found['part'], 40)}" if found["part"] else ""
    yield f"decision {found['id']} of {where} at {_time(found['captured_at'])}{part}"
    answer = f"{_short(found['label'], 40)}, confidence {found['confidence']:.3f}" if found["label"] else "no label"
    yield f"  {found['verdict']}: {answer}{', ' + found['cause'] if found['cause'] else ''}"
    if sample is None:
        yield "  the cloud did not keep this frame: what people say of it is not known"
    elif not sample["acts"]:
        yield "  nobody labelled it"
    else:
        said = [
            f"{a['labeller']} {a['label'] or 'sent it back'} ({a['kind']}, {_time(a['at'])})" for a in sample["acts"]
        ]
        yield f"  people say: {sample['truth'] or 'nothing that stands'}; {_some(said)}"


def _bundle(told: dict[str, Any]) -> Iterator[str]:
    bundle = told.get("bundle")
    if bundle is None:
        return
    yield f"bundle {bundle['digest'][:12]}"
    release, artefact = bundle["release"], told.get("artefact")
    if release is not None:
        counter = f", release counter {release['release_counter']}"
        yield f"  release {release['version']}, {release['state']} {_time(release['created_at'])}{counter}"
    for act in told.get("released_by", [])[:3]:
        yield f"    {act['act']} by {act['actor']}: {_short(act['detail'], 160)}"
    if artefact is not None:
        sure = "" if artefact["certain"] else " (the first one; which ran is not told)"
        scheme = f" {artefact['scheme']}" if artefact["scheme"] else ""
        at = artefact["thresholds"]
        yield f"  artefact {artefact['file']}, {artefact['precision']}{scheme}{sure}"
        yield f"  thresholds: pass at {at['pass_at']:.4g}, reject at {at['reject_at']:.4g} ({at['method']})"
    elif bundle.get("lineage"):
        yield f"  the station says: {_some([f'{k} {v[:12]}' for k, v in bundle['lineage'].items() if v])}"


def _gate(told: dict[str, Any]) -> Iterator[str]:
    gate = told.get("gate")
    if gate is None:
        return
    yield f"gate: {'passed' if gate['passed'] else 'FAILED'}, {len(gate['checks'])} checks"
    # What failed comes first; then whether the promise is shown for the parts as they look now, which many labels would hide.
    ranked = sorted(gate["checks"], key=lambda check: (check["passed"], check["name"] != "new look"))
    for check in ranked[:_MOST_CHECKS]:
        yield f"  {'held' if check['passed'] else 'FAILED'}: {_short(check['sentence'], 260)}"
    if len(ranked) > _MOST_CHECKS:
        yield f"  and {len(ranked) - _MOST_CHECKS} more that held (--json)"


def _runs(told: dict[str, Any]) -> Iterator[str]:
    runs = told.get("runs", [])
    for number, run in enumerate(runs):
        # The released one, its parents, and always the last, which is the base model or where the chain breaks.
        if len(runs) > _MOST_RUNS and _MOST_RUNS - 1 <= number < len(runs) - 1:
            if number == _MOST_RUNS - 1:
                yield f"and {len(runs) - _MOST_RUNS} more between (--json)"
            continue
        info = run["info"]
        if info is None:
            yield f"{'trained in' if number == 0 else 'parent'} {run['run']}: its run is gone"
            continue
        steps = f"{info['figures']['steps']} steps, seed {info['seed']}"
        base = "" if info["parent"] else ", a base model"
        yield f"{'trained in' if number == 0 else 'parent'} {run['run']}: {steps}, by {info['code']}{base}"
        if run["retrain"] is not None:
            yield f"  made by retrain {run['retrain']['id']} ({run['retrain']['trigger']}): {_short(run['retrain']['reason'])}"
        if run["alarm"] is not None:
            alarm = run["alarm"]
            yield f"  answers alarm {alarm['id']} of {_time(alarm['opened_at'])}: {alarm['cause']}: {_short(alarm['sentence'])}"
        splits = [
            f"{split} {_some([f'{label} {n}' for label, n in of.items()])}" for split, of in run["images"].items()
        ]
        total = sum(sum(of.values()) for of in run["images"].values())
        if info["teacher"]:
            yield f"  distilled from {_short(info['teacher'])}"
        if number == 0:
            recipe = info["recipe"]
            shown = ("model", "width", "epochs", "batch_size", "learning_rate", "head")
            yield f"  recipe: {', '.join(f'{name} {recipe[name]}' for name in shown if name in recipe)}"
        named = f"{info['dataset']}, " if info.get("dataset") else ""
        yield f"  dataset {named}{info['dataset_sha256'][:12]}: {total} images, {len(run['reviewed'])} reviewed"
        if number == 0:
            yield from (f"    {line}" for line in splits)
            yield f"  labelled by {_some([_labeller(note) for note in run['labellers']])}"
            if overruled := told.get("overruled"):
                now = [f"{e['sample']} {e['label']}, now {e['truth'] or 'disputed'}" for e in overruled]
                yield f"  {len(now)} of its reviewed labels no longer stand: {_some(now)}"
        yield from _seen(told, run, most=2 if number == 0 else 1)


def _seen(told: dict[str, Any], run: dict[str, Any], most: int) -> Iterator[str]:
    if told["decision"] is None:
        return
    if not run["seen"]:
        if told["decision"]["part"] or told["sample"]:
            yield "  this part is not in it"
        return
    image = (told["sample"] or {}).get("image_sha256")
    for entry in sorted(run["seen"], key=lambda entry: entry["sha256"] != image)[:most]:
        what = "this very image" if image and entry["sha256"] == image else "another image of this part"
        use = "learnt from" if entry["split"] == "train" else f"used for {entry['split']}"
        yield f"  {what} was {use} as {entry['label']}, labelled by {entry['labeller'] or 'unknown'}"


def _names(told: dict[str, Any]) -> list[str]:
    held = [check["what"] for check in told["checks"] if check["holds"]]
    return [*held[:_MOST_SHOWN], *(["..."] if len(held) > _MOST_SHOWN else [])]


def _labeller(note: dict[str, Any]) -> str:
    when = f" ({_time(note['first_at'])} to {_time(note['last_at'])})" if note["first_at"] is not None else ""
    return f"{note['labeller']} {note['images']}{when}"


def _some(texts: list[str]) -> str:
    more = f" and {len(texts) - _MOST_SHOWN} more" if len(texts) > _MOST_SHOWN else ""
    return ", ".join(_short(text, 80) for text in texts[:_MOST_SHOWN]) + more


def _short(text: str, most: int = 200) -> str:
    plain = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
    return plain if len(plain) <= most else plain[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _time(at: float | None) -> str:
    return "an unknown time" if at is None else datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%d %H:%M:%SZ")
