"""plumbline-cloud explain: what of an image made a model say what it said."""

from __future__ import annotations

import argparse
from pathlib import Path

from cloud.commands.output import Subparsers, print_json
from contract.errors import InvalidConfig, NotFound

_METHODS = ("occlusion", "integrated-gradients", "activation-map")


def register(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "explain",
        help="show what of an image speaks for a model's answer",
        description="Write a picture: the image in grey, and over it in orange what spoke for the answer.",
        epilog="example: plumbline-cloud explain runs/next parts/0001.png --method occlusion --out why.png\n"
        "         plumbline-cloud explain --sample b1-7-3 --config plant/cloud.toml --out why.png",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "run_folder", metavar="RUN", nargs="?", help="a trained run folder; its full-precision model is asked"
    )
    parser.add_argument("image", metavar="IMAGE", nargs="?", help="an image file")
    parser.add_argument(
        "--sample", help="in place of RUN and IMAGE: a frame that the cloud keeps, and the model that judged it"
    )
    parser.add_argument("--config", type=Path, default=Path("cloud.toml"), help="with --sample (default %(default)s)")
    parser.add_argument("--out", metavar="PNG", required=True, help="the picture to write; a .json lies beside it")
    parser.add_argument(
        "--method",
        choices=_METHODS,
        default="occlusion",
        help="occlusion: cover squares and see the score fall; integrated-gradients: which pixels move the score;"
        " activation-map: where the last features speak for it (default %(default)s)",
    )
    parser.add_argument("--label", help="the answer to explain (default: the model's own)")
    parser.add_argument("--json", action="store_true", help="print what came of it as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Explain."""
    # Here, so that --help does not load what explaining needs.
    from cloud.retrain.explain import ExplainJob, Method, explain
    from cloud.retrain.progress import show_progress

    if (args.sample is None) is (args.image is None):
        raise InvalidConfig("name RUN and IMAGE, or --sample", hint="plumbline-cloud explain --help shows both")
    if Path(args.out).suffix.lower() != ".png":
        raise InvalidConfig(
            f"--out {args.out} is no .png", hint="e.g. --out why.png; what it says lies beside it in why.json"
        )
    folder, image = (args.run_folder, args.image) if args.sample is None else _kept(args.sample, args.config)
    if Path(args.out).resolve() == Path(image).resolve():
        raise InvalidConfig(f"--out {args.out} is the image itself", hint="name another file")
    job = ExplainJob(folder, image, args.out, Method(args.method), args.label)
    found = explain(job, show_progress)
    if args.json:
        print_json(
            {
                "label": found.label,
                "said": found.said,
                "confidence": found.confidence,
                "method": found.method.value,
                "picture": args.out,
                "found": found.looked is not None,
            }
        )
        return 0
    print(f"the model says '{found.said}' with confidence {found.confidence:.3f}")
    if found.looked is None:
        print(f"nothing in the image speaks for '{found.label}'")
    print(f"{Path(args.out)} shows what speaks for '{found.label}' ({found.method.value})")
    return 0


def _kept(sample: str, config: Path) -> tuple[str, str]:
    """Return (the run behind the model that judged a kept frame, the frame's file)."""
    import contextlib

    from cloud.settings import load_settings
    from cloud.store.samples import Samples
    from cloud.store_wiring import open_database, open_registry

    settings = load_settings(config)
    registry = open_registry(settings)
    with contextlib.closing(open_database(settings)) as database:
        found = Samples(database).get(sample)
    if found.image_sha256 is None:
        raise NotFound(f"the pixels of '{sample}' have not come", hint="ask for them, or wait for the station")
    release = registry.catalog.by_digest(found.bundle)
    if release is None:
        raise NotFound(f"no release here is the bundle {found.bundle[:12]} that judged '{sample}'")
    return str(settings.path("runs") / release.version), str(registry.blobs.path(found.image_sha256))
