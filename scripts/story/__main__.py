"""./scripts/demo: the whole loop on this machine."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from contract.errors import PlumblineError
from scripts.story.images import real_pictures, simulated_pictures
from scripts.story.plant import Plant
from scripts.story.steps import Story
from scripts.story.telling import Telling
from scripts.story.ways import Ways

_EXAMPLE = """examples:
  ./scripts/demo
  ./scripts/demo --secure
  ./scripts/demo --data ../shared/data/neu --layout prefix --json

exit codes: 0 every step held, 1 a step did not hold, 2 wrong usage"""


def main() -> int:
    """Tell the story and return the exit code."""
    args = _parse()
    for stop in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(stop, signal.default_int_handler)  # whoever ends the demo, it leaves no process behind
    telling = Telling()
    work = Path(tempfile.mkdtemp(prefix="plumbline-demo-"))
    plant: Plant | None = None
    story: Story | None = None
    figures: dict[str, object] = {}
    try:
        if args.data is None:
            telling.say("The images of this demo are SIMULATED (a seeded generator of machined-metal surfaces).")
            pictures = simulated_pictures(work, args.seed)
        else:
            telling.say(f"The images are those in {args.data}; the lens that loses focus is simulated.")
            pictures = real_pictures(args.data.resolve(), args.layout, work, args.seed)
        plant = Plant(work, pictures, Ways(secure=args.secure, postgres=args.postgres))
        story = Story(plant, pictures, work, args.base, telling)
        steps = (
            ("train and release a base model", story.train_and_release),
            ("three stations install it over the air and learn their normal", story.install_and_enrol),
            ("one station's lens loses focus", story.lose_focus),
            ("the cloud raises one drift alarm, from sketches alone", story.raise_alarm),
            ("flagged and audit-drawn parts go before an inspector", story.label),
            ("retrain, quantize, gate, sign, canary, everyone", story.retrain_and_roll_out),
            ("accuracy is back", story.measure),
            ("two bad releases stop themselves", story.release_badly),
            ("the broker dies for 20 s and a station is killed with -9", story.break_things),
        )
        for title, act in steps:
            if not telling.step(title, act).held and not args.go_on:
                break
        figures = {**story.figures, "minutes": round(telling.minutes(), 2), "simulated": pictures.simulated}
        whole = len(telling.steps) == len(steps) and all(step.held for step in telling.steps)
    except PlumblineError as error:
        print(f"error: {error.one_line()}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        if story is not None:
            story.close()
        if plant is not None:
            plant.close()
        if args.keep:
            telling.say(f"kept: {work} (logs, databases, registry, runs)")
        else:
            shutil.rmtree(work, ignore_errors=True)
    print(telling.table(), file=sys.stderr if args.json else sys.stdout)
    if args.json:
        print(telling.as_json({**figures, "whole": whole}))
    return 0 if whole else 1


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./scripts/demo",
        description="A broker, the cloud and three stations on this machine: a silent failure, caught and mended.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, help="a folder of labelled images (default: the simulated station's own)")
    parser.add_argument(
        "--layout", choices=("folders", "prefix"), default="folders", help="label by folder, or by name prefix"
    )
    parser.add_argument(
        "--base", type=Path, metavar="RUN", help="reuse a base run of an earlier demo (--keep) on the same data"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the split and the generator (default %(default)s)")
    parser.add_argument(
        "--secure", action="store_true", help="mutual TLS at broker and API; stations enrol by one-time tokens"
    )
    parser.add_argument("--postgres", action="store_true", help="the cloud's database is a PostgreSQL of its own")
    parser.add_argument("--keep", action="store_true", help="keep the working folder")
    parser.add_argument("--go-on", action="store_true", help="go on after a step that did not hold")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON on standard output")
    args = parser.parse_args()
    if args.data is not None and not args.data.is_dir():
        parser.error(f"--data {args.data}: no such folder")
    return args


if __name__ == "__main__":
    sys.exit(main())
