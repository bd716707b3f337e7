"""Drawing for the gate's report: SVG elements whose texts and attributes are escaped, whatever labels are called."""

from __future__ import annotations

import unicodedata

from markupsafe import Markup, escape

# Told apart by people with any common colour blindness. Source: Okabe & Ito 2008, "Color universal design".
BLUE, ORANGE, GREY, INK = "#0072B2", "#D55E00", "#8a9099", "#1d2733"
_SHORT = 22


def element(tag: str, *inside: Markup | str, **attributes: object) -> Markup:
    """Return `<tag ...>inside</tag>`; `_` in an attribute's name is `-`, a trailing one is left out; numbers get two decimals."""
    words = "".join(
        Markup(' {}="{}"').format(name.rstrip("_").replace("_", "-"), _number(value))
        for name, value in attributes.items()
    )
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(tag), Markup(words), Markup("").join(inside))


def text(x: float, y: float, words: str, **attributes: object) -> Markup:
    """Return words at a place, shortened where they are long, with the whole of them as a tooltip."""
    whole = one_line(words)
    short = whole if len(whole) <= _SHORT else whole[: _SHORT - 1] + "…"
    tip = element("title", whole) if short != whole else Markup()
    return element("text", tip, short, x=x, y=y, **{"fill": INK, **attributes})


def caption(x: float, y: float, words: str, **attributes: object) -> Markup:
    """Return the chart's own words at a place, whole."""
    return element("text", words, x=x, y=y, **{"fill": INK, **attributes})


def line(x1: float, y1: float, x2: float, y2: float, **attributes: object) -> Markup:
    """Return a line."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, **{"stroke": GREY, **attributes})


def rect(x: float, y: float, width: float, height: float, *inside: Markup, **attributes: object) -> Markup:
    """Return a rectangle."""
    return element("rect", *inside, x=x, y=y, width=width, height=height, **attributes)


def picture(width: float, height: float, said: str, *inside: Markup) -> Markup:
    """Return the drawing; `said` is what a screen reader says of it."""
    return element(
        "svg",
        *inside,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {_number(width)} {_number(height)}",
        width=width,
        height=height,
        role="img",
        aria_label=said,
        font_size=12,
    )


def mix(colour: str, share: float) -> str:
    """Return white with a share, 0..1, of `colour` (#rrggbb)."""
    parts = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return "#" + "".join(f"{round(255 + (part - 255) * min(max(share, 0.0), 1.0)):02x}" for part in parts)


def on(share: float) -> str:
    """Return the colour of words on a field of `mix(colour, share)`."""
    return "#ffffff" if share > 0.62 else INK


def one_line(words: str) -> str:
    """Return words without what would hide, turn round or break a line: names come from folders and files."""
    kept = "".join(" " if unicodedata.category(char)[0] in "CZ" else char for char in words)
    return " ".join(kept.split())


def _number(value: object) -> object:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else escape(str(value))
