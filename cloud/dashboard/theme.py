"""Colours of the pages, dark and light: as CSS for what is text, as `Palette` for what is drawn.

The page follows the system until somebody says otherwise; what they say is kept in their browser as a cookie. Every pair of text
and ground below has a contrast of at least 4.5 (WCAG AA), every line that means something one of 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from nicegui import app, ui
from nicegui.events import GenericEventArguments
from starlette.requests import Request

COOKIE = "plumbline_theme"
_EVENT = "plumbline_mode"
_DARK = "plumbline_dark"


class Tone(str, Enum):
    """What a badge or a banner means; each has a sign beside its colour."""

    GOOD = "good"
    WARN = "warn"
    BAD = "bad"
    INFO = "info"
    PLAIN = "plain"


SIGNS: dict[Tone, str] = {Tone.GOOD: "✓", Tone.WARN: "!", Tone.BAD: "✕", Tone.INFO: "i", Tone.PLAIN: "–"}


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours for charts; `series` are told apart by people who do not see red or green (Okabe and Ito 2008)."""

    text: str
    muted: str
    grid: str
    surface: str
    good: str
    warn: str
    bad: str
    info: str
    plain: str
    series: tuple[str, ...]

    def of(self, tone: Tone) -> str:
        """Return the colour of a tone."""
        return str(getattr(self, tone.value))


LIGHT = Palette(
    text="#0f172a",
    muted="#475569",
    grid="#cbd5e1",
    surface="#ffffff",
    good="#15803d",
    warn="#b45309",
    bad="#b91c1c",
    info="#1d4ed8",
    plain="#64748b",
    series=("#0072b2", "#d55e00", "#007a5a", "#a8447f", "#7a5c00", "#1f77a4"),
)
DARK = Palette(
    text="#e2e8f0",
    muted="#a3b1c6",
    grid="#33415c",
    surface="#131c2e",
    good="#4ade80",
    warn="#fbbf24",
    bad="#f87171",
    info="#60a5fa",
    plain="#94a3b8",
    series=("#56b4e9", "#ff9d4d", "#2dd4a7", "#e99ac8", "#f0e442", "#9ad0f5"),
)

_CSS = """
:root { --pl-ground:#f1f5f9; --pl-surface:#ffffff; --pl-text:#0f172a; --pl-muted:#475569; --pl-line:#cbd5e1;
  --pl-link:#1d4ed8; --pl-act:#1d4ed8; --pl-act-text:#ffffff; --pl-bar:#0f172a;
  --pl-good:#166534; --pl-good-ground:#dcfce7; --pl-warn:#854d0e; --pl-warn-ground:#fef3c7;
  --pl-bad:#991b1b; --pl-bad-ground:#fee2e2; --pl-info:#1e40af; --pl-info-ground:#dbeafe;
  --pl-plain:#334155; --pl-plain-ground:#e2e8f0; }
body.body--dark { --pl-ground:#0b1120; --pl-surface:#131c2e; --pl-text:#e2e8f0; --pl-muted:#a3b1c6; --pl-line:#33415c;
  --pl-link:#93c5fd; --pl-act:#93c5fd; --pl-act-text:#0b1120; --pl-bar:#060a14;
  --pl-good:#86efac; --pl-good-ground:#12331f; --pl-warn:#fcd34d; --pl-warn-ground:#3a2a08;
  --pl-bad:#fca5a5; --pl-bad-ground:#43171b; --pl-info:#93c5fd; --pl-info-ground:#14294d;
  --pl-plain:#cbd5e1; --pl-plain-ground:#26334b; }
body, body.body--dark { background: var(--pl-ground); color: var(--pl-text); }
.nicegui-content { padding: 0; }
.pl-bar { background: var(--pl-bar) !important; color: #fff; padding: .5rem 1rem; gap: .25rem 1rem; }
.pl-bar a { color: #fff; padding: .15rem .3rem; border-radius: 4px; text-decoration: none; }
.pl-bar a:hover { text-decoration: underline; }
.pl-bar a[aria-current] { background: #fff; color: #0f172a; font-weight: 600; }
.pl-bar button { color: #fff; }
.pl-page { width: 100%; max-width: 1700px; margin: 0 auto; padding: 1rem; gap: 1rem; }
.pl-page a:not(.q-btn) { color: var(--pl-link); text-decoration: underline; text-underline-offset: 2px; }
.pl-card { background: var(--pl-surface); border: 1px solid var(--pl-line); border-radius: 8px; padding: .9rem 1rem;
  gap: .5rem; min-width: 0; }
.pl-page h1 { font-size: 1.5rem; font-weight: 700; line-height: 1.3; margin: 0; }
.pl-page h2 { font-size: 1.1rem; font-weight: 700; line-height: 1.4; margin: 0; }
.pl-page h3 { font-size: 1rem; font-weight: 600; line-height: 1.4; margin: 0; }
.pl-muted { color: var(--pl-muted); }
.pl-break { overflow-wrap: anywhere; white-space: pre-wrap; min-width: 0; }
.pl-badge { white-space: nowrap; display: inline-flex; gap: .35em; align-items: baseline; border-radius: 999px; padding: .05em .6em;
  font-weight: 600; overflow-wrap: anywhere; }
.pl-banner { width: 100%; border-radius: 6px; padding: .5rem .8rem; font-weight: 600; overflow-wrap: anywhere; }
.pl-good { background: var(--pl-good-ground); color: var(--pl-good); }
.pl-warn { background: var(--pl-warn-ground); color: var(--pl-warn); }
.pl-bad { background: var(--pl-bad-ground); color: var(--pl-bad); }
.pl-info { background: var(--pl-info-ground); color: var(--pl-info); }
.pl-plain { background: var(--pl-plain-ground); color: var(--pl-plain); }
.pl-page .pl-banner a, .pl-page .pl-badge a { color: inherit; }
.pl-act.q-btn { background: var(--pl-act); color: var(--pl-act-text); }
.pl-act.pl-danger.q-btn { background: var(--pl-bad); color: var(--pl-surface); }
.pl-act.pl-quiet.q-btn { background: transparent; color: var(--pl-link); border: 1px solid var(--pl-muted); }
.pl-act .q-focus-helper { display: none; }
.pl-act.q-btn:hover { text-decoration: underline; }
.pl-act.disabled { opacity: .55 !important; }
.q-dialog__backdrop { z-index: 0 !important; }
.q-dialog__inner { z-index: 1; }
.pl-dialog { background: var(--pl-surface); color: var(--pl-text); width: 34rem; max-width: 95vw; padding: 1.2rem; gap: .8rem; }
.pl-table.q-table__card, .pl-table .q-table__card { background: var(--pl-surface); color: var(--pl-text); box-shadow: none; }
.pl-table { width: 100%; }
.pl-table th { color: var(--pl-text); font-weight: 700; font-size: .8rem; white-space: normal; vertical-align: bottom; }
.pl-table th button { font: inherit; color: inherit; background: none; border: 0; padding: .1rem .2rem; cursor: pointer;
  text-align: inherit; text-decoration: underline dotted; text-underline-offset: 3px; }
.pl-table td { overflow-wrap: anywhere; }
.pl-table .pl-num { text-align: right; font-variant-numeric: tabular-nums; overflow-wrap: normal; white-space: nowrap; }
.pl-chart { width: 100%; }
/* Of what is important the earliest layer wins: here this is before Quasar's own. */
@layer base {
.q-loading-bar { display: none !important; } /* it has no name, and pages say what they wait for */
body .q-field__label, body .q-field__native, body .q-field__input, body .q-field__marginal { color: var(--pl-text) !important; }
body .q-field__bottom, body .q-placeholder::placeholder { color: var(--pl-muted) !important; opacity: 1; }
body .q-field--outlined .q-field__control:before { border-color: var(--pl-muted) !important; }
body .q-menu { background: var(--pl-surface); color: var(--pl-text); }
body.body--dark .text-primary { color: var(--pl-link) !important; }
}
.pl-page :focus-visible, .pl-dialog :focus-visible, .pl-bar :focus-visible, .nicegui-skip-link:focus {
  outline: 3px solid #f59e0b !important; outline-offset: 2px; }
.pl-hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
@media (prefers-reduced-motion: reduce) { *, *::before, *::after { transition: none !important; animation: none !important; } }
"""

# What the browser shows before it has drawn the page: no white flash for who works in the dark.
_GROUND = {
    "dark": "html{background:#0b1120}",
    "light": "html{background:#f1f5f9}",
    "": "html{background:#f1f5f9}@media (prefers-color-scheme: dark){html{background:#0b1120}}",
}

_WATCH = f"""(() => {{
  const dark = () => document.body.classList.contains('body--dark');
  if (!window.plumblineWatch) {{
    window.plumblineWatch = new MutationObserver(() => emitEvent('{_EVENT}', dark()));
    window.plumblineWatch.observe(document.body, {{attributes: true, attributeFilter: ['class']}});
  }}
  emitEvent('{_EVENT}', dark());
}})()"""

_NAMES = {"": "as the system", "dark": "dark", "light": "light"}


def palette() -> Palette:
    """Return the colours of the page at hand, as its browser last said it looks."""
    return DARK if app.storage.client.get(_DARK) else LIGHT


def dress(request: Request) -> ui.dark_mode:
    """Give the page at hand its colours; return what changes them."""
    chosen = request.cookies.get(COOKIE, "")
    chosen = chosen if chosen in _NAMES else ""
    ui.add_css(_CSS + _GROUND[chosen])
    app.storage.client[_DARK] = chosen == "dark"
    client = ui.context.client

    def told(event: GenericEventArguments) -> None:
        dark = event.args is True
        if app.storage.client.get(_DARK) is not dark:
            app.storage.client[_DARK] = dark
            for element in list(client.elements.values()):
                if isinstance(element, Recoloured):
                    element.recolour()

    ui.on(_EVENT, told)
    client.on_connect(lambda: client.run_javascript(_WATCH))
    return ui.dark_mode({"dark": True, "light": False}.get(chosen))


class Recoloured:
    """What is drawn in the palette and must be drawn again when it changes."""

    def recolour(self) -> None:
        """Draw in `palette()`."""
        raise NotImplementedError


def theme_button(dark: ui.dark_mode) -> ui.button:
    """Return the button that goes from the system's colours to dark, to light and back, and has the browser remember it."""

    def word() -> str:
        return {None: "", True: "dark", False: "light"}[dark.value]

    def turn() -> None:
        following = {"": "dark", "dark": "light", "light": ""}[word()]
        dark.set_value({"dark": True, "light": False}.get(following))
        button.set_text(f"Colours: {_NAMES[following]}")
        age = 31_536_000 if following else 0
        ui.run_javascript(f"document.cookie = '{COOKIE}={following};path=/;max-age={age};samesite=lax'")

    button = (
        ui.button(f"Colours: {_NAMES[word()]}", on_click=turn, color=None)
        .props("flat dense no-caps")
        .classes("pl-theme")
    )
    return button
