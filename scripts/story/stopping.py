"""The step in which bad releases stop themselves, while somebody looks on with a browser."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cloud.registry.keys import load_keys
from cloud.registry.release import Registry, release_archive
from scripts.story.bad_releases import torn_archive, with_shuffled_labels
from scripts.story.page_seen import PageWatch, showed_it_stopping
from scripts.story.plant import STATIONS, Plant
from scripts.story.telling import Step, Telling

_PAGE_FOLLOWS_S = 15.0


def release_badly(
    plant: Plant,
    good_version: str,
    work: Path,
    roll_out: Callable[[str], dict[str, Any]],
    telling: Telling,
    step: Step,
) -> None:
    """Release a model that decides wrongly and a bundle that is torn, roll both out, and record what came of it.

    `roll_out` rolls a version out and returns the rollout once it is over.
    """
    run = with_shuffled_labels(plant.home / "runs" / good_version, work / "bad-wrong")
    plant.cloud_command("release", str(run), "--version", "bad-wrong", "--override-gate", "demo: it decides wrongly")
    registry, keys = Registry(plant.home / "registry"), load_keys(plant.home / "keys")
    archive = registry.blobs.path(registry.catalog.get(good_version).digest)
    release_archive(torn_archive(archive, work / "bad-torn.plb", "bad-torn"), registry, keys, time.time())
    with PageWatch(plant.url, work / "page-aborting.png") as page:
        for name in ("wrong", "torn"):
            version, seen_before = f"bad-{name}", len(page.glances)
            rollout = roll_out(version)
            page.wait_for(version, _PAGE_FOLLOWS_S)
            page.wait_for("ABORTED", _PAGE_FOLLOWS_S)
            telling.say(f"   {version}: {rollout['state']}, {rollout['reason']}")
            step.promise(f"'{name}' stopped itself", rollout["state"] == "ABORTED")
            reached = [m["station"] for m in rollout["stations"] if m["ordered_at"] is not None]
            step.promise(f"'{name}' reached the canary only", len(reached) == 1)
            step.figures[f"{name}_s"] = rollout["ended_at"] - rollout["created_at"]
            glances = page.glances[seen_before:]
            if not page.trouble:
                shown = showed_it_stopping(glances, version)
                step.promise(f"the page showed '{name}' stopping at the canary, and why", shown)
                if not shown:
                    telling.say(f"     the page said: {glances[-3:]}")
        if page.trouble:
            telling.say(f"   {page.trouble}")
        step.figures["page"] = "not looked at" if page.trouble else "seen"
    running = Counter(s["bundle"] for s in plant.fleet().values())
    step.promise("every station runs the good bundle", running == Counter({plant.digest(good_version): len(STATIONS)}))
