"""`plumbline-agent bench`: what a frame costs on this device with the bundle to be served."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING

from agent.runtime.providers import WANTED
from contract.errors import InvalidConfig

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from agent.ports.runtime import Runtime
    from contract.manifest import Artefact, Manifest
    from contract.sketches.rolling import RollingSketch

_EXAMPLE = """\
Each step of the line, timed for itself while frames pass one after another, in microseconds: half of the frames took at most
p50, all but one in a hundred at most p99. "frames/s" is what one core takes with every step in a row; a station, which
captures, judges and records at the same time, takes more where it has more cores. Storing, the network and the camera are
not in it: stop the station for the time of the bench, and use images from its camera.

examples:
  plumbline-agent bench --bundle steel.plb --images /data/parts --seconds 10
  plumbline-agent bench --bundle steel.plb --json | jq .frames_per_s
"""
_MOST_IMAGES = 64
_LEAST_FRAMES = 20
_WARM = 5
_WINDOW = 256
_READ = "read"
_STEPS = ("features", "preprocess", "run", "decide", "sketch")


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "bench",
        help="time a bundle on this device",
        description="Time what a frame costs on this device with the bundle to be served.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--bundle", required=True, type=Path, metavar="B", help="a .plb archive or an unpacked bundle")
    parser.add_argument(
        "--images", type=Path, metavar="DIR", help=f"the first {_MOST_IMAGES} images below it; none: SIMULATED surfaces"
    )
    parser.add_argument("--seconds", type=float, default=10.0, metavar="S", help="how long to measure (10)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="threads the runtime may use (1)")
    parser.add_argument("--provider", choices=WANTED, default="auto", help="where the model runs (auto)")
    parser.add_argument("--json", action="store_true", help="print one flat JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    import sys
    import tempfile

    from agent.clock import SystemClock
    from agent.runtime.load import ModelLoader
    from agent.slots.unpacked import open_bundle

    if not 0 < args.seconds <= 3600:
        raise InvalidConfig(f"--seconds must be above 0 and at most 3600, not {args.seconds:g}")
    clock = SystemClock()
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="plumbline-bench-")))
        bundle = open_bundle(args.bundle, scratch)
        frames = _frames(args.images, bundle.manifest)
        loader = ModelLoader(
            lambda text: print(text, file=sys.stderr),
            clock,
            threads=max(1, args.threads),
            provider=args.provider,
            engines=scratch / "engines",
        )
        stack.callback(loader.close)
        runtime, artefact = loader.load(Path(bundle.folder), bundle.manifest)
        stack.callback(runtime.close)
        line = _Line(bundle.manifest, runtime, artefact)
        timed = _measure(frames, line, clock.monotonic, args.seconds, reads=args.images is not None)
    figures: dict[str, str | float] = {
        "bundle": bundle.digest,
        "artefact": artefact.file,
        "provider": _provider_of(runtime),
        "images": str(args.images) if args.images is not None else "SIMULATED",
        **timed.figures(),
    }
    _show(figures, as_json=args.json)
    return 0


def _provider_of(runtime: Runtime) -> str:
    provider = getattr(runtime, "provider", None)
    return str(getattr(provider, "value", provider)) if provider is not None else type(runtime).__name__


def _frames(folder: Path | None, manifest: Manifest) -> Iterator[Callable[[], NDArray[np.uint8]]]:
    """Return for ever what gives the next frame's pixels: a file read and decoded, or a surface that was made before."""
    if folder is not None:
        from agent.sources.image_file import read_image_file
        from agent.sources.image_listing import check_folder, list_images

        check_folder(folder)
        paths = list(islice(list_images(folder), _MOST_IMAGES))
        if not paths:
            raise InvalidConfig(f"the image folder {folder} holds no image", hint="put images of the line into it")
        return cycle([lambda path=path: read_image_file(path, path.name) for path in paths])
    from agent.sources.surface import surface

    height, width = (max(32, side) for side in (manifest.preprocess.height, manifest.preprocess.width))
    made = [surface(1, part, height, width)[0] for part in range(8)]
    return cycle([lambda pixels=pixels: pixels for pixels in made])


@dataclass(frozen=True, slots=True)
class _Timed:
    """Microseconds of each step, frame by frame, and those of whole frames."""

    steps: dict[str, list[float]]
    whole: list[float]
    took_s: float

    def figures(self) -> dict[str, float]:
        import numpy as np

        found = {"frames": float(len(self.whole)), "seconds": round(self.took_s, 2)}
        found["frames_per_s"] = round(len(self.whole) / self.took_s, 1)
        for step, each in {**{step: each for step, each in self.steps.items() if each}, "whole": self.whole}.items():
            for quantile in (50, 99):
                found[f"{step}_p{quantile}_us"] = round(float(np.percentile(each, quantile)), 1)
        return found


class _Line:
    """The steps of the frame line that are the processor's, with sketches of a station that has enrolled."""

    def __init__(self, manifest: Manifest, runtime: Runtime, artefact: Artefact) -> None:
        self._manifest, self._runtime, self._artefact = manifest, runtime, artefact
        self._sketch: RollingSketch | None = None
        self._seen = 0

    def pass_through(self, pixels: NDArray[np.uint8], now_s: Callable[[], float]) -> list[float]:
        """Take one frame down the line; return the moments between `_STEPS`, the first before the first."""
        from agent.decide.thresholds import decide
        from contract.decode import decode
        from contract.preprocess import preprocess
        from contract.sketches.frame_stats import frame_stats

        moments = [now_s()]
        stats = frame_stats(pixels)
        moments.append(now_s())
        tensor = preprocess(pixels, self._manifest.preprocess)
        moments.append(now_s())
        scores = self._runtime.run(tensor)
        moments.append(now_s())
        prediction = decode(scores, self._manifest.labels, self._artefact.output)
        decide(prediction, self._manifest.thresholds_of(self._artefact))
        moments.append(now_s())
        if self._sketch is None:
            self._sketch = self._start_sketch()
            moments[-1] = now_s()
        self._sketch.observe(stats, prediction.index, prediction.confidence, (moments[-1] - moments[0]) * 1e6)
        self._seen += 1
        if self._seen % _WINDOW == 0:
            self._sketch.close()
        moments.append(now_s())
        return moments

    def _start_sketch(self) -> RollingSketch:
        from contract.sketches.enrolment import DEFAULT_SEED
        from contract.sketches.rolling import RollingSketch
        from contract.sketches.window import FEATURES_VERSION, SketchIdentity

        labels = len(self._manifest.labels)
        return RollingSketch(SketchIdentity(FEATURES_VERSION, DEFAULT_SEED, "", "bench", labels))


def _measure(
    frames: Iterator[Callable[[], NDArray[np.uint8]]],
    line: _Line,
    now_s: Callable[[], float],
    seconds: float,
    *,
    reads: bool,
) -> _Timed:
    for take in islice(frames, _WARM):
        line.pass_through(take(), now_s)
    steps = (_READ, *_STEPS) if reads else _STEPS
    timed = _Timed({step: [] for step in steps}, [], 0.0)
    begun_s = now_s()
    while True:
        before_s = now_s()
        pixels = next(frames)()
        passed = line.pass_through(pixels, now_s)
        moments = [before_s, *passed] if reads else passed
        for step, start_s, end_s in zip(steps, moments, moments[1:], strict=False):
            timed.steps[step].append((end_s - start_s) * 1e6)
        timed.whole.append((moments[-1] - moments[0]) * 1e6)
        took_s = moments[-1] - begun_s
        if took_s >= seconds and len(timed.whole) >= _LEAST_FRAMES:
            return _Timed(timed.steps, timed.whole, took_s)


def _show(figures: dict[str, str | float], *, as_json: bool) -> None:
    if as_json:
        import json

        print(json.dumps(figures))
        return
    print(
        f"bundle {str(figures['bundle'])[:12]}, {figures['artefact']} on {figures['provider']}, {figures['images']} images"
    )
    print(f"{'step':<12}{'p50 us':>10}{'p99 us':>10}")
    for step in (_READ, *_STEPS, "whole"):
        if f"{step}_p50_us" not in figures:
            continue
        print(f"{step:<12}{figures[f'{step}_p50_us']:>10}{figures[f'{step}_p99_us']:>10}")
    print(f"{figures['frames_per_s']} frames/s with every step in a row, over {figures['frames']:.0f} frames")
