"""The report of an A/B rollout, in sentences."""

from __future__ import annotations

from cloud.rollout.ab_report import ArmReport, Difference


def arm_words(arm: ArmReport) -> str:
    """Return what an arm came to."""
    mix = ", ".join(f"{name} {share:.1%}" for name, share in arm.mix.items()) or "no frame yet"
    words = (
        f"Arm {arm.arm}, {arm.version}: {arm.stations:,} stations, {arm.frames:,} frames ({mix}), {arm.failed:,} failed"
    )
    if arm.latency_ms is not None:
        words += f", {arm.latency_ms:.1f} ms a frame"
    if arm.labelled:
        words += f", {arm.right:,} of {arm.labelled:,} labelled frames right"
    if arm.disputed:
        words += f", people disagree on {arm.disputed:,} more"
    return words


def difference_words(found: Difference, confidence: float) -> str:
    """Return by how much arm b differs from arm a, and what can be said of it."""
    name = {"latency": "Time a frame", "accuracy": "Accuracy"}.get(found.what, f"Share of {found.what}")
    if found.unknown:
        return f"{name}: not known; {found.unknown}."
    unit, scale = (" ms", 1.0) if found.what == "latency" else (" points", 100.0)
    value, lower, upper = (f"{each * scale:+.1f}" for each in (found.value, found.lower, found.upper))
    clear = "" if found.lower > 0.0 or found.upper < 0.0 else "; that may be chance"
    return f"{name}: b is {value}{unit} against a ({lower} to {upper} with {confidence:.0%} confidence){clear}."
