"""The runbooks where they are needed: what alerts and the overview send people to, as a page of its own."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

from nicegui import ui
from starlette.requests import Request

from cloud.dashboard.parts import card, words
from cloud.dashboard.shell import Shell
from cloud.ports.needs import Need

PATH = "/runbooks"

_CSS = """
.pl-runbook { scroll-margin-top: 1rem; }
.pl-runbook p { margin: 0 0 .6rem; }
.pl-runbook pre { background: var(--pl-plain-ground); color: var(--pl-text); padding: .5rem .7rem; border-radius: 6px;
  margin: 0 0 .6rem; white-space: pre-wrap; overflow-wrap: anywhere; }
.pl-runbook code { background: var(--pl-plain-ground); color: var(--pl-text); padding: .05rem .25rem; border-radius: 4px; }
.pl-runbook pre code { padding: 0; }
.pl-runbook:target { outline: 3px solid var(--pl-link); }
"""

# What the address names is drawn after the browser looked for it.
_GO_THERE = "location.hash && document.getElementById(location.hash.slice(1))?.scrollIntoView()"


def runbook_path(need: Need) -> str:
    """Return where a need's runbook is read, "" where it has none."""
    return f"{PATH}#{need.runbook}" if need.runbook else ""


def install_runbooks_page(shell: Shell) -> None:
    """Put the page at /runbooks; each section is an anchor."""

    @ui.page(PATH)
    def page(request: Request) -> None:
        if (entered := shell.enter(request, "Runbooks", PATH)) is None:
            return
        ui.add_css(_CSS)
        before, sections = runbooks()
        with entered[1]:
            for paragraph in before:
                ui.markdown(paragraph).classes("pl-runbook")
            with ui.element("nav").props('aria-label="Runbooks"').classes("flex flex-wrap gap-x-4 gap-y-1"):
                for name in sections:
                    ui.link(name, f"#{name}")
            for name, text in sections.items():
                with card(name).classes("pl-runbook").props(f'id="{name}" tabindex="-1"'):
                    ui.markdown(text)
            words(
                "The same text is docs/RUNBOOKS.md: keep a copy where it can be read without this server.", muted=True
            )
        client = ui.context.client
        client.on_connect(lambda: client.run_javascript(_GO_THERE))


@cache
def runbooks() -> tuple[tuple[str, ...], dict[str, str]]:
    """Return the paragraphs before the first runbook, and each runbook's text by its anchor, as Markdown."""
    text = files(__package__).joinpath("RUNBOOKS.md").read_text("utf-8")
    # What the tests read and no person does: comments, and what stands behind a fence's backticks.
    text = re.sub(r"^(```).*$", r"\1", re.sub(r"<!--.*?-->\n", "", text, flags=re.DOTALL), flags=re.MULTILINE)
    before, *found = re.split(r"^## ", text, flags=re.MULTILINE)
    opening = before.partition("\n")[2].strip()
    sections = dict(each.split("\n", 1) for each in found)
    return tuple(opening.split("\n\n")), {name.strip(): text.strip() for name, text in sections.items()}
