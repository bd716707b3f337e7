"""plumbline-cloud review: labels out to Label Studio and back, how often people agree, and what they disagree on."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cloud.commands.output import Subparsers, print_json, print_table
from cloud.review.label_choice import MAX_CHARS, LabelChoice
from cloud.settings import CloudSettings, load_settings
from contract.errors import InvalidConfig, NotFound

_EXAMPLES = """examples:
  plumbline-cloud review agreement --config plant/cloud.toml
  plumbline-cloud review export --format labelstudio --out tolabel --config plant/cloud.toml
  plumbline-cloud review export --format csv --out labels --config plant/cloud.toml
  plumbline-cloud review import project-7.json --format labelstudio --labeller 3=eva --config plant/cloud.toml
  plumbline-cloud review import labels.jsonl --format jsonl --config plant/cloud.toml
  plumbline-cloud review return dataset/disagreements.jsonl --config plant/cloud.toml
  plumbline-cloud review resolve b1-7-3 --label scratch --labeller eva --config plant/cloud.toml
  plumbline-cloud review resolve b1-7-4 --label dent --label scratch --labeller eva --config plant/cloud.toml

A line of jsonl: {"sample": "b1-7-3", "label": "scratch", "labeller": "eva", "labelled_at": 1795200000}
Where the model's labels do not exclude each other, a part may have several: "label": ["dent", "scratch"], or in one text
"dent;scratch", as it is shown and exported; --label is then given once for each. A name that holds a semicolon itself is given
as it is ("label": "a;b", or --label 'a;b'); beside others in one text it is in quotes, as in CSV: "label": "\\"a;b\\";dent".

Label Studio finds the exported images when it runs with LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true and
LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT set to the folder above --out, and the project has --out as local storage; or give
--prefix with the address of a web server. label_config.xml is the project's labelling interface.

exit codes: 0 done, 1 error; an import with an unknown sample or label is refused whole"""


def register(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "review",
        help="labels to and from Label Studio, agreement of labellers, what they disagree on",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    agree = actions.add_parser("agreement", help="say how often people who labelled the same image agree")
    agree.set_defaults(run=_agreement)
    export = actions.add_parser("export", help="write what waits for a label, as tasks and images; or every label")
    export.add_argument(
        "--format",
        choices=("labelstudio", "csv"),
        default="labelstudio",
        help="csv: labels.csv with every label so far, for a spreadsheet (default %(default)s)",
    )
    export.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new or empty folder")
    export.add_argument("--limit", type=int, default=1000, help="how many at most (default %(default)s)")
    export.add_argument("--for", dest="who", default="", metavar="LABELLER", help="what this person has not labelled")
    export.add_argument("--prefix", default="", help="what goes before images/ in a task (default: local files)")
    export.set_defaults(run=_export)
    bring = actions.add_parser("import", help="take labels with labeller and time from a file, all or none")
    bring.add_argument("file", type=Path, help="the file")
    bring.add_argument("--format", choices=("labelstudio", "jsonl"), required=True, help="what it is")
    bring.add_argument(
        "--labeller", action="append", default=[], metavar="ID=NAME", help="who a user of Label Studio is (repeat)"
    )
    bring.set_defaults(run=_import)
    back = actions.add_parser("return", help="send images whose labels disagree in a dataset back to the queue")
    back.add_argument("file", type=Path, help="disagreements.jsonl of 'dataset make'")
    back.set_defaults(run=_return)
    resolve = actions.add_parser("resolve", help="settle what people disagree on")
    resolve.add_argument("sample", help="its name")
    resolve.add_argument("--label", action="append", required=True, help="what it shows (repeat for several defects)")
    resolve.add_argument("--labeller", required=True, help="who says so")
    resolve.set_defaults(run=_resolve)
    for action in (agree, export, bring, back, resolve):
        action.epilog = _EXAMPLES
        action.formatter_class = argparse.RawDescriptionHelpFormatter
        action.add_argument("--config", type=Path, default=Path("cloud.toml"), help="cloud.toml (default %(default)s)")
        action.add_argument("--json", action="store_true", help="print JSON")
    for action in (bring, back):
        action.add_argument("--actor", default="operator", help="for the audit log (default %(default)s)")


def _agreement(args: argparse.Namespace) -> int:
    from cloud.review.labellers import agreement

    with _opened(load_settings(args.config)) as samples:
        found = agreement(samples.labels.all())
    if args.json:
        print_json(asdict(found))
        return 0
    print(f"{found.images} images labelled by two people: agreed {_share(found.raw)}, kappa {_share(found.kappa)}")
    if found.labellers:
        rows = [(e.labeller, e.labelled, e.images, e.agreed, _share(e.raw), _share(e.kappa)) for e in found.labellers]
        print_table(("labeller", "labelled", "also by another", "agreed", "raw", "kappa"), rows)
    return 0


def _export(args: argparse.Namespace) -> int:
    import msgspec

    from cloud.api.images import without_words
    from cloud.commands.label_files import label_studio_config, label_studio_tasks, local_files_prefix
    from cloud.registry.known_labels import KnownLabels
    from cloud.store_wiring import open_registry

    if args.limit < 1:
        raise InvalidConfig(f"--limit {args.limit} must be above 0")
    if args.out.exists() and (not args.out.is_dir() or any(args.out.iterdir())):
        raise InvalidConfig(f"{args.out} is there and not empty", hint="name a new folder")
    settings = load_settings(args.config)
    if args.format == "csv":
        return _export_labels(args, settings)
    registry = open_registry(settings)
    with _opened(settings) as samples:
        waiting = samples.waiting(args.limit, args.who)
    images = args.out / "images"
    images.mkdir(parents=True, exist_ok=True)
    written, gone = [], []
    for each in waiting:
        try:
            frame = registry.blobs.path(each.image_sha256 or "").read_bytes()
        except NotFound:
            gone.append(each.sample)
            continue
        (images / f"{each.image_sha256}.png").write_bytes(without_words(frame))
        written.append(each)
    tasks = label_studio_tasks(written, args.prefix or local_files_prefix(args.out))
    (args.out / "label_config.xml").write_text(label_studio_config(KnownLabels(registry).choice()), "utf-8")
    (args.out / "tasks.json").write_bytes(msgspec.json.format(msgspec.json.encode(tasks), indent=2) + b"\n")
    if args.json:
        print_json({"tasks": len(tasks), "without_image": gone, "out": str(args.out)})
    else:
        print(f"{len(tasks)} tasks in {args.out / 'tasks.json'}")
        if gone:
            print(f"{len(gone)} are left out: the store has lost their pixels: {', '.join(gone[:10])}")
    return 0


def _export_labels(args: argparse.Namespace, settings: CloudSettings) -> int:
    from cloud.commands.label_files import labels_csv

    with _opened(settings) as samples:
        acts = samples.labels.all()
        told = labels_csv(acts, {name: samples.get(name) for name in acts})
    args.out.mkdir(parents=True, exist_ok=True)
    file = args.out / "labels.csv"
    file.write_text(told, "utf-8", newline="")
    count = sum(map(len, acts.values()))
    print_json({"acts": count, "out": str(file)}) if args.json else print(f"{count} acts of labellers in {file}")
    return 0


def _import(args: argparse.Namespace) -> int:
    from cloud.commands.label_files import check_times, read_jsonl, read_label_studio

    names: dict[str, str] = {}
    for each in args.labeller:
        user, is_pair, name = each.partition("=")
        if not (user and is_pair and name):
            raise InvalidConfig(f"--labeller {each} is no ID=NAME", hint="e.g. --labeller 3=eva")
        names[user] = name
    settings = load_settings(args.config)
    choice = _choice(settings)
    if args.format == "labelstudio":
        given = read_label_studio(args.file, names, choice)
    else:
        given = read_jsonl(args.file, choice)
    check_times((each.act for each in given), _now(), args.file)
    with _opened(settings) as samples:
        added = samples.labels.add(given, _now(), args.actor, _what(args.file))
    if args.json:
        print_json(asdict(added))
    else:
        print(f"{added.new} new labels, {added.known} known already; {added.disputed} images are disputed now")
    return 0


def _return(args: argparse.Namespace) -> int:
    from cloud.commands.label_files import check_times, read_disagreements, sent_back

    found = read_disagreements(args.file)
    check_times((act for each in found for act in each.acts), _now(), args.file)
    settings = load_settings(args.config)
    choice = _choice(settings)
    with _opened(settings) as samples:
        held = samples.with_image(sorted({each.sha256 for each in found}))
        given = [
            act
            for each in found
            for name in held.get(each.sha256, ())
            for act in sent_back(each, name, args.actor, choice)
        ]
        before = samples.counts()[0]
        added = samples.labels.add(given, _now(), args.actor, _what(args.file))
        waiting = samples.counts()[0]
    strangers = sorted({each.sha256 for each in found} - held.keys())
    if args.json:
        facts = {"images": len(found), "held": len(held), "not_held": strangers, "new_acts": added.new}
        print_json({**facts, "waiting_before": before, "waiting": waiting})
    else:
        print(f"{len(held)} of {len(found)} images are of this store; {waiting - before} more wait for a label now")
        if strangers:
            print(f"{len(strangers)} are not: settle those where their dataset is kept")
    return 0


def _resolve(args: argparse.Namespace) -> int:
    settings = load_settings(args.config)
    if not 0 < len(args.labeller) <= 120:
        raise InvalidConfig("--labeller has 1 to 120 characters")
    choice = _choice(settings)
    label = choice.check(args.label[0]) if len(args.label) == 1 else choice.check_all(args.label)
    if not 0 < len(label) <= MAX_CHARS:
        raise InvalidConfig(f"--label has 1 to {MAX_CHARS} characters")
    with _opened(settings) as samples:
        samples.label(args.sample, label, args.labeller, _now(), resolve=True)
    print_json({"sample": args.sample, "label": label}) if args.json else print(f"{args.sample} is {label}")
    return 0


def _choice(settings: CloudSettings) -> LabelChoice:
    from cloud.registry.known_labels import KnownLabels
    from cloud.store_wiring import open_registry

    return KnownLabels(open_registry(settings)).choice()


@contextlib.contextmanager
def _opened(settings: CloudSettings) -> Iterator[Any]:
    from cloud.store.samples import Samples
    from cloud.store_wiring import open_database

    with contextlib.closing(open_database(settings)) as database:
        yield Samples(database, settings.review.second_look)


def _what(file: Path) -> str:
    from cloud.registry.blobs import sha256_of

    return f"{file.name}, {sha256_of(file)[:12]}"


def _now() -> float:
    from cloud.clock import SystemClock

    return SystemClock().now()


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
