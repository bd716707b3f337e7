"""Why a verdict is REVIEW."""

from __future__ import annotations

from enum import Enum


class Cause(str, Enum):
    """What kept a frame from PASS and REJECT. Only UNSURE, DRIFTED and DEGRADED can be settled in time, by more evidence.

    UNFAMILIAR: the frame is so unlike what the camera enrolled that no model's answer to it counts (`agent.decide.unfamiliar`).

    DEGRADED: another artefact judged than the thresholds were chosen for, under heat or load or because that one does not load.
    """

    UNSURE = "unsure"
    DRIFTED = "drifted"
    DEGRADED = "degraded"
    LATE = "late"
    BROKEN_MODEL = "broken_model"
    NO_MODEL = "no_model"
    CAMERA_FAULT = "camera_fault"
    BAD_IMAGE = "bad_image"
    BLANK_FRAME = "blank_frame"
    FROZEN_FRAME = "frozen_frame"
    UNFAMILIAR = "unfamiliar"
    BROKEN_DISK = "broken_disk"
    INTERNAL = "internal"


class Drop(str, Enum):
    """Why a captured frame was dropped before anybody looked at it: the line moves on, and a newer one was there.

    BACKLOG: the model was still busy. SUPERSEDED: the camera's own buffer held a newer one. MISSED_TRIGGER: the camera's count
    of triggers jumped, a part was never seen. SKIPPED: the station is degraded and judges one frame in so many.
    """

    BACKLOG = "backlog"
    SUPERSEDED = "superseded"
    MISSED_TRIGGER = "missed_trigger"
    SKIPPED = "skipped"
