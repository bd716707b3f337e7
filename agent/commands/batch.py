"""Judging many images: one verdict each, onto a terminal or into a file that is whole or can be gone on with."""

from __future__ import annotations

import csv
import io
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.commands.scored import COLUMNS, Beside, Scored, cells_of, csv_line, of_cells, without_blanks
from agent.ports.runtime import Runtime
from contract.errors import BadImage, BadModel, InvalidConfig, NotFound, PlumblineError, StorageFull
from contract.manifest import Artefact, Label, Manifest

_LEVELS = 255.0
_SPREAD = 1  # its place in FrameStats.values
_PROGRESS_EVERY_S = 1.0


class Judge:
    """A bundle's first loadable artefact and its thresholds. `blank_sd`: less spread, in grey levels, is REVIEW.

    As on the line, a PASS of an artefact that the bundle's thresholds are not about is REVIEW (`degraded`).
    """

    def __init__(
        self,
        manifest: Manifest,
        runtime: Runtime,
        artefact: Artefact,
        name: str,
        *,
        blank_sd: float = 0.0,
        maps: Path | None = None,
    ) -> None:
        """`maps`: a folder for pictures of where the model looked, by the images' paths; None for none."""
        from agent.clock import SystemClock

        self._manifest, self._runtime, self._name = manifest, runtime, name
        self._output, self._guaranteed = artefact.output, manifest.guarantees(artefact)
        self._thresholds = manifest.thresholds_of(artefact)
        self._blank_sd = blank_sd
        self._maps = maps
        self._clock = SystemClock()

    def score_file(self, path: Path) -> Scored:
        """Return the verdict on the image file at `path`; what could not be judged is REVIEW with its error (P6)."""
        shown = os.fsencode(path).decode("utf-8", "replace")
        try:
            return self.score(_bytes_of(path), shown)
        except PlumblineError as error:
            return self.failed(shown, error)

    def failed(self, shown: str, error: PlumblineError) -> Scored:
        """Return the line of an image that could not be judged."""
        from agent.decide.causes import Cause

        cause = Cause.BROKEN_MODEL if isinstance(error, BadModel) else Cause.BAD_IMAGE
        return Scored(shown, "REVIEW", "", 0.0, 0.0, self._name, error.one_line(), cause.value)

    def score(self, data: bytes, shown: str) -> Scored:
        """Return the verdict on an encoded image.

        Raises:
            BadImage: it is no usable image.
            BadModel: the model failed on it.
        """
        from agent.decide.causes import Cause
        from agent.decide.escalation import without_guarantee
        from agent.decide.thresholds import decide
        from agent.sources.image_file import read_image
        from contract.decode import decode
        from contract.preprocess import preprocess
        from contract.sketches.frame_stats import frame_stats

        pixels = read_image(data, shown)
        started_s = self._clock.monotonic()
        scores = self._runtime.run(preprocess(pixels, self._manifest.preprocess))
        prediction = decode(scores, self._manifest.labels, self._output)
        ms = (self._clock.monotonic() - started_s) * 1e3
        if self._maps is not None:
            self._write_map(self._maps / f"{_as_name(shown)}.map.png", pixels, scores)
        decision = decide(prediction, self._thresholds)
        if not self._guaranteed:
            decision = without_guarantee(decision, ask=False, why=Cause.DEGRADED)
        verdict, cause = decision.verdict.value, decision.why.value if decision.why else ""
        if self._blank_sd > 0 and not float(frame_stats(pixels).values[_SPREAD]) * _LEVELS >= self._blank_sd:
            verdict, cause = "REVIEW", Cause.BLANK_FRAME.value
        return Scored(
            shown,
            verdict,
            prediction.label.name,
            round(prediction.confidence, 4),
            round(ms, 2),
            self._name,
            cause=cause,
            also=tuple(self._beside(label, scores) for label in prediction.also),
        )

    def _beside(self, label: Label, scores: NDArray[np.float32]) -> Beside:
        # Only independent labels are seen beside each other, and their scores are probabilities, off by rounding at most.
        score = float(scores[self._manifest.labels.index(label)])
        return Beside(label.name, round(min(max(score, 0.0), 1.0), 4))

    def _write_map(self, path: Path, pixels: NDArray[np.uint8], scores: NDArray[np.float32]) -> None:
        from agent.loading import evidence_of
        from agent.store.png import encode_png
        from contract.activation_map import summarise
        from contract.overlay import overlay

        found = evidence_of(self._runtime, scores, self._manifest.labels)
        looked = summarise(*found) if found is not None else None
        if looked is None:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode_png(overlay(pixels, looked)))
        except OSError as error:
            raise StorageFull(
                f"'{path}' cannot be written: {error}", hint="free disk space, or name another folder"
            ) from error


def _as_name(shown: str) -> str:
    """Return an image's path as one file name: two images of one stem in two folders stay two."""
    return Path(shown).with_suffix("").as_posix().strip("./").replace("/", "_")


class Taker(Protocol):
    """Where lines go."""

    @property
    def done(self) -> Counter[str]:
        """Return how many lines of each verdict there are, and under "failed" how many with an error."""

    def has(self, image: str) -> bool:
        """Return whether the image was judged by an earlier run."""

    def add(self, scored: Scored) -> None:
        """Take one line."""


class Paper:
    """A terminal or a pipe: lines on stdout, errors on stderr."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self.done: Counter[str] = Counter()

    def has(self, image: str) -> bool:
        """Return False: nothing is remembered."""
        return False

    def add(self, scored: Scored) -> None:
        """Print one line."""
        _count(self.done, scored)
        if self._as_json:
            print(msgspec.json.encode(without_blanks(scored)).decode(), flush=True)
        elif scored.error:
            print(f"{scored.image}  {scored.verdict}", flush=True)
            print(f"error: {scored.error}", file=sys.stderr, flush=True)
        else:
            seen = f"{scored.label}  {scored.confidence:.3f}"
            seen += "".join(f", {each.label}  {each.confidence:.3f}" for each in scored.also)
            print(
                f"{scored.image}  {scored.verdict:<6}  {seen}  {scored.ms:.1f} ms  {scored.bundle}",
                flush=True,
            )


class Sheet:
    """A .csv or JSON-lines file. It has its name when it is complete; until then it is NAME.part, which is gone on with."""

    def __init__(self, path: Path, bundle: str) -> None:
        """Open it, and read what an earlier run left.

        Raises:
            InvalidConfig: the folder is not there or may not be written, or the part was begun with another bundle.
        """
        self._path, self._part = path, path.with_name(f"{path.name}.part")
        self._is_csv = path.suffix.lower() == ".csv"
        self.done: Counter[str] = Counter()
        self._judged: set[str] = set()
        try:
            whole = self._whole_lines(self._part.read_bytes()) if self._part.exists() else b""
            self._take_up(whole, bundle)
            self._file: BinaryIO = self._part.open("r+b" if whole else "wb")
            self._file.truncate(len(whole))
            self._file.seek(len(whole))
            if self._is_csv and not whole:
                self._write(csv_line(COLUMNS))
        except OSError as error:
            raise InvalidConfig(
                f"'{path}' cannot be written: {error.strerror or error}", hint="name a file in a folder you may write"
            ) from error

    def has(self, image: str) -> bool:
        """Return whether the image was judged by an earlier run."""
        return image in self._judged

    def add(self, scored: Scored) -> None:
        """Write one line.

        Raises:
            StorageFull: the disk refused.
        """
        _count(self.done, scored)
        if self._is_csv:
            self._write(csv_line(cells_of(scored)))
        else:
            self._write(msgspec.json.encode(without_blanks(scored)) + b"\n")

    def finish(self) -> None:
        """Give the file its name, durably.

        Raises:
            StorageFull: the disk refused.
        """
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._part.replace(self._path)
        except OSError as error:
            raise StorageFull(f"'{self._path}' cannot be written: {error.strerror or error}") from error

    def flush(self) -> None:
        """Let a reader see what was written; a run that is killed has judged that much."""
        self._guard(self._file.flush)

    def close(self) -> None:
        """Close the file, finished or not."""
        self._file.close()

    def _write(self, line: bytes) -> None:
        self._guard(lambda: self._file.write(line))

    def _guard(self, write: Any) -> None:
        try:
            write()
        except OSError as error:
            raise StorageFull(
                f"'{self._part}' cannot be written: {error.strerror or error}", hint="free space, and run it again"
            ) from error

    def _whole_lines(self, data: bytes) -> bytes:
        """Return `data` without a last line that was cut off; a quoted field of CSV may hold line ends."""
        end = data.rfind(b"\n") + 1
        while self._is_csv and end and data.count(b'"', 0, end) % 2:
            end = data.rfind(b"\n", 0, end - 1) + 1
        return data[:end]

    def _take_up(self, whole: bytes, bundle: str) -> None:
        try:
            lines = self._parse(whole)
        except (msgspec.DecodeError, ValueError, UnicodeDecodeError, csv.Error) as error:
            raise InvalidConfig(f"'{self._part}' is not what this command wrote", hint="delete it") from error
        for line in lines:
            if line.bundle != bundle:
                raise InvalidConfig(
                    f"'{self._part}' was begun with {line.bundle[:80]}", hint="use that bundle, or delete the file"
                )
            self._judged.add(line.image)
            _count(self.done, line)

    def _parse(self, whole: bytes) -> list[Scored]:
        if not self._is_csv:
            return [msgspec.json.decode(line, type=Scored) for line in whole.splitlines()]
        rows = csv.DictReader(io.StringIO(whole.decode(), newline=""))
        if whole and rows.fieldnames != list(COLUMNS):
            raise ValueError("other columns")  # of another version: lines of ours would not fit below them
        return [of_cells(row) for row in rows]


def score_all(images: Sequence[Path], judge: Judge, taker: Taker, *, progress: bool) -> float:
    """Judge `images`, and every image below those that are folders; return the seconds it took."""
    from agent.clock import SystemClock
    from agent.sources.image_listing import check_folder, list_images

    paths: list[Path] = []
    for path in images:
        if path.is_dir():
            check_folder(path)
            found = list_images(path)
            if not found:
                raise NotFound(f"the folder {path} holds no image", hint="JPEG, PNG, BMP, TIFF and WebP files are")
            paths += found
        else:
            paths.append(path)
    clock = SystemClock()
    started_s = shown_s = clock.monotonic()
    judged = 0
    for at, path in enumerate(paths, 1):
        if taker.has(os.fsencode(path).decode("utf-8", "replace")):
            continue
        taker.add(judge.score_file(path))
        judged += 1
        now_s = clock.monotonic()
        if progress and now_s - shown_s >= _PROGRESS_EVERY_S:
            shown_s = now_s
            per_s = judged / (now_s - started_s)
            left_s = (len(paths) - at) / per_s
            print(f"{at} of {len(paths)} images, {per_s:.0f}/s, {left_s:.0f} s left", file=sys.stderr, flush=True)
            if isinstance(taker, Sheet):
                taker.flush()
    return clock.monotonic() - started_s


def _count(done: Counter[str], scored: Scored) -> None:
    done["failed" if scored.error else scored.verdict] += 1


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise NotFound(f"no file '{path}'", hint="check the path") from error
    except OSError as error:
        raise BadImage(f"'{path}' cannot be read: {error.strerror or error}") from error
