"""plumbline-cloud why: from a verdict to the model, its gate, its dataset and the people whose labels it learnt."""

from __future__ import annotations

import argparse
import contextlib
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from cloud.commands.output import Subparsers, print_json
from cloud.commands.why_decision import Decision, of_station_database, told_by
from cloud.settings import CloudSettings, load_settings
from contract.errors import InvalidConfig, NotFound

_EXAMPLES = """examples:
  plumbline-cloud why b1-7-3 --config plant/cloud.toml                                # a frame that the cloud keeps
  plumbline-cloud why 1417 --station-db agent.sqlite --config plant/cloud.toml            # any verdict in a station's database
  plumbline-cloud why --decision decision.json --config plant/cloud.toml              # what GET /v1/decisions/1417 told
  plumbline-cloud why --version v2.r1 --config plant/cloud.toml                       # a model, whatever it decided

Every hash on the way is taken again. exit codes: 0 told, 3 a hash does not match, 1 error"""


def register(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "why",
        help="trace a verdict to its model, gate, dataset, labels and people",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "decision_id", nargs="?", default="", metavar="DECISION_ID", help="a sample's name, or a decision's number"
    )
    parser.add_argument("--station-db", type=Path, metavar="FILE", help="a station's database, which has the decision")
    parser.add_argument("--station", default="", help="whose database it is")
    parser.add_argument(
        "--decision", metavar="FILE", help="a saved answer of the agent's decision API; -: standard input"
    )
    parser.add_argument("--bundle", default="", metavar="DIGEST", help="a bundle, by the beginning of its SHA-256")
    parser.add_argument("--version", default="", help="a released version, or an alias")
    parser.add_argument("--config", type=Path, default=Path("cloud.toml"), help="cloud.toml (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Tell where a decision or a model came from."""
    from cloud.commands.why_view import why_lines

    ways = [bool(args.decision_id), bool(args.decision), bool(args.bundle), bool(args.version)]
    if sum(ways) != 1:
        raise InvalidConfig("name one of DECISION_ID, --decision, --bundle and --version")
    if args.station_db is not None and not args.decision_id:
        raise InvalidConfig(
            "--station-db needs the decision's number", hint="plumbline-cloud why 1417 --station-db FILE"
        )
    settings = load_settings(args.config)
    told = _trace(args, settings)
    if args.json:
        print_json(told)
    else:
        print("\n".join(why_lines(told)))
    return 0 if all(check["holds"] for check in told["checks"]) else 3


def _trace(args: argparse.Namespace, settings: CloudSettings) -> dict[str, Any]:
    """Return all that is known, as JSON can hold it."""
    from cloud.registry.lineage import Check, bundle_link
    from cloud.review.agreement import outcome
    from cloud.store.alarms import Alarms
    from cloud.store.samples import Samples
    from cloud.store.versions import Versions
    from cloud.store.why_rows import release_acts
    from cloud.store_wiring import open_database, open_registry

    registry = open_registry(settings)
    with contextlib.closing(open_database(settings)) as database:
        samples = Samples(database)
        decision = _decision(args, database, samples)
        digest = decision.bundle if decision else _digest(args, registry, Versions(database))
        told: dict[str, Any] = {
            "decision": asdict(decision) if decision else None,
            "sample": None,
            "checks": [],
            "gaps": [],
        }
        kept = samples.get(decision.sample) if decision and decision.sample else None
        if kept is not None:
            acts = [{**asdict(act), "kind": act.kind.value} for act in samples.labels.of(kept.sample)]
            told["sample"] = {**asdict(kept), "acts": acts}
            stands = outcome(samples.labels.of(kept.sample)).truth
            truth = Check("what people say of the frame", stands == kept.truth, str(kept.truth), str(stands))
        if not digest:
            return {**told, "gaps": ["no model decided this, so there is nothing to trace"]}
        link = bundle_link(registry, digest)
        checks, gaps = [*link.checks, *([truth] if kept else [])], list(link.gaps)
        told["bundle"] = {"digest": digest, "release": _builtins(link.release)}
        if link.manifest is not None:
            told["bundle"] |= {"name": link.manifest.name, "created_at": link.manifest.created_at}
            told["bundle"]["lineage"] = _builtins(link.manifest.lineage)
            told["artefact"] = _artefact(link, decision, checks)
        elif decision and decision.lineage:
            told["bundle"]["lineage"] = decision.lineage
        if link.manifest and decision and decision.lineage not in (None, _builtins(link.manifest.lineage)):
            checks.append(
                Check("the station's lineage", False, str(_builtins(link.manifest.lineage)), str(decision.lineage))
            )
        told["gate"] = _builtins(link.gate)
        if link.release is not None:
            told["released_by"] = [asdict(each) for each in release_acts(database, link.release.version)]
            told["runs"] = _runs(settings, registry, link, kept, decision, Alarms(database), checks, gaps)
            told["overruled"] = _overruled(samples, told["runs"][0]["reviewed"])
        told["checks"], told["gaps"] = [asdict(each) for each in checks], gaps
        return told


def _decision(args: argparse.Namespace, database: Any, samples: Any) -> Decision | None:
    from cloud.store.why_rows import kept_frame

    if args.decision:
        found = told_by(args.decision)
    elif args.station_db is not None:
        found = of_station_database(args.station_db, args.decision_id, args.station)
    elif args.decision_id:
        try:
            kept = samples.get(args.decision_id)
        except NotFound as error:
            hint = "the cloud keeps samples only; for any other give --station-db FILE or --decision FILE"
            raise NotFound(error.message, hint=hint) from error
        names = ("station", "camera", "part", "captured_at", "verdict", "label", "confidence", "bundle", "sample")
        return Decision(id=kept.sample, **{name: getattr(kept, name) for name in names})
    else:
        return None
    return replace(found, sample=kept_frame(database, found.station, found.captured_at or 0.0, found.part))


def _digest(args: argparse.Namespace, registry: Any, versions: Any) -> str:
    if args.version:
        return str(registry.catalog.get(versions.resolve(args.version)).digest)
    known = {each.digest for each in registry.catalog.all() if each.digest.startswith(args.bundle)}
    if len(known) > 1:
        raise InvalidConfig(f"{len(known)} bundles begin with '{args.bundle}'", hint="give more of it")
    if not known and len(args.bundle) != 64:
        raise NotFound(f"no release's bundle begins with '{args.bundle[:80]}'", hint="see: GET /v1/versions")
    return known.pop() if known else str(args.bundle)


def _artefact(link: Any, decision: Decision | None, checks: list[Any]) -> dict[str, Any]:
    """Return the model file that decided; where nobody told which, the one that comes first."""
    from cloud.registry.lineage import Check

    told = decision.artefact if decision else ""
    artefact = link.artefact(told) or link.artefact()
    entry = next(each for each in link.manifest.files if each.name == artefact.file)
    if decision and decision.artefact_sha256:
        checks.append(Check.of(f"{told} that ran", decision.artefact_sha256, entry.sha256))
    return {
        "file": artefact.file,
        "sha256": entry.sha256,
        "precision": artefact.precision,
        "scheme": artefact.scheme,
        "certain": (link.artefact(told) is artefact and bool(told)) or len(link.manifest.artefacts) == 1,
        "thresholds": _builtins(link.manifest.thresholds_of(artefact)),
    }


def _runs(
    settings: CloudSettings,
    registry: Any,
    link: Any,
    kept: Any,
    decision: Decision | None,
    alarms: Any,
    checks: list[Any],
    gaps: list[str],
) -> list[dict[str, Any]]:
    """Return the chain of runs from the released one to the base model; add to `checks` and `gaps`."""
    from cloud.registry.lineage import bundle_link
    from cloud.retrain.run_lineage import run_chain
    from contract.ids import is_digest

    runs = settings.path("runs")

    def find(parent: str) -> Path | None:
        release = registry.catalog.by_digest(parent) if is_digest(parent) else None
        folder = runs / (release.version if release else Path(parent).name)
        return folder if folder.is_dir() else None

    def bundle_of(folder: Path) -> tuple[Any, Any]:
        versions = registry.catalog.all() if folder.resolve().parent == runs.resolve() else ()
        release = next((each for each in versions if each.version == folder.name), None)
        if release is None:
            return None, None
        bundle = bundle_link(registry, release.digest)
        checks.extend(replace(check, what=f"{release.version}: {check.what}") for check in bundle.checks)
        gaps.extend(f"{release.version}: {gap}" for gap in bundle.gaps)
        return bundle.manifest, bundle.manifest.lineage if bundle.manifest else release.lineage

    by_version = {each.version: each for each in alarms.retrains() if each.version}
    causes = {each.id: each for each in alarms.all()}
    found = []
    for each in run_chain(
        runs / link.release.version,
        find,
        manifest=link.manifest,
        lineage=link.manifest.lineage if link.manifest else link.release.lineage,
        bundle_of=bundle_of,
        image_sha256=(kept.image_sha256 or "") if kept else "",
        part=decision.part if decision else "",
    ):
        retrain = by_version.get(each.name)
        alarm = causes.get(retrain.alarm) if retrain and retrain.alarm is not None else None
        checks += each.checks
        gaps += [f"{each.name}: {gap}" for gap in each.gaps]
        found.append(
            {
                "run": each.name,
                "folder": str(each.folder),
                "info": _builtins(each.info),
                "images": each.images,
                "labellers": [asdict(note) for note in each.labellers],
                "reviewed": _builtins(each.reviewed),
                "seen": _builtins(each.seen),
                "retrain": asdict(retrain) if retrain else None,
                "alarm": asdict(alarm) if alarm else None,
            }
        )
    return found


def _overruled(samples: Any, reviewed: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the labels that the model learnt and that no longer stand, by sample; `truth`: None where people disagree."""
    held = samples.with_image([each["sha256"] for each in reviewed])
    pairs = [(each["label"], samples.get(name)) for each in reviewed for name in held.get(each["sha256"], ())]
    return [
        {"sample": kept.sample, "label": label, "truth": kept.truth} for label, kept in pairs if kept.truth != label
    ]


def _builtins(value: Any) -> Any:
    import msgspec

    return msgspec.to_builtins(value)
