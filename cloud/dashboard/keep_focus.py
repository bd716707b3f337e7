"""The keyboard's place in a table that is drawn anew: whatever has a `data-pl-key` gets the focus back that its successor lost."""

from __future__ import annotations

from nicegui import ui

# An element that is taken away takes the focus with it, and no event says so everywhere: what was focused last is remembered, and
# looked for by its key after each change. Whoever moves the focus elsewhere keeps it there.
_SCRIPT = """
(() => {
  let last = null;
  document.addEventListener('focusin', event => {
    const key = event.target.dataset?.plKey;
    last = key ? {key, element: event.target} : null;
  });
  document.addEventListener('DOMContentLoaded', () => new MutationObserver(() => {
    if (!last || last.element.isConnected || document.activeElement !== document.body) return;
    const next = document.querySelector(`[data-pl-key="${CSS.escape(last.key)}"]`);
    if (next) next.focus({preventScroll: true}); else last = null;
  }).observe(document.body, {childList: true, subtree: true}));
})();
"""


def keep_focus() -> None:
    """Put the script on the page that is being drawn."""
    ui.add_head_html(f"<script>{_SCRIPT}</script>")
