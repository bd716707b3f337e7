"""What every page says at its top: whatever makes the rest of it doubtful."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cloud.dashboard.theme import Tone

_NAMED = 8


@dataclass(frozen=True, slots=True)
class Banner:
    """One line; `key` names it again, `path` leads to where more of it is said."""

    key: str
    text: str
    tone: Tone
    path: str = ""


def banners_of(
    *,
    broker_connected: bool,
    simulated: Sequence[str] = (),
    strangers: Sequence[str] = (),
    signing: str = "",
    lost_database: str = "",
) -> tuple[Banner, ...]:
    """Return the banners that are due.

    Args:
        simulated: stations without a camera.
        strangers: who speaks on the broker and was never added.
        signing: what somebody must see to so that stations go on taking updates, "" for nothing.
        lost_database: why the database cannot be used, "" while it can.
    """
    found = []
    if lost_database:
        text = f"{lost_database[:1].upper()}{lost_database[1:]}: nothing is stored, and pages show what was so before."
        found.append(Banner("database", text, Tone.BAD, "/runbooks#database-gone"))
    if not broker_connected:
        text = "The broker is not reached: nothing comes in. Start it, or set [broker] in cloud.toml."
        found.append(Banner("broker", text, Tone.BAD))
    if signing:
        found.append(Banner("signing", signing, Tone.BAD))
    if strangers:
        text = (
            f"{_who(strangers)} {'speaks' if len(strangers) == 1 else 'speak'} on the broker without having been added: what"
            " comes is kept, no order goes out. plumbline-cloud station add NAME, or take away the access to the broker."
        )
        found.append(Banner("strangers", text, Tone.WARN))
    if simulated:
        have = "has" if len(simulated) == 1 else "have"
        text = f"SIMULATED: {_who(simulated)} {have} no camera; what they see is simulated."
        found.append(Banner("simulated", text, Tone.WARN, "/fleet?simulated=yes"))
    return tuple(found)


def _who(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= _NAMED else f"{len(names):,} stations"
