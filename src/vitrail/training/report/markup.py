"""HTML that cannot be broken by what it shows: text is escaped unless it is already markup."""

from __future__ import annotations

import html
from collections.abc import Iterable

VOID = {"img", "br", "line", "path", "rect", "polyline"}  # elements without children


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def tag(name: str, *children: str, **attributes: object) -> Html:
    """An element. In an attribute's name a last `_` is dropped, others become hyphens: `class_`, `aria_label`."""
    named = {key.rstrip("_").replace("_", "-"): html.escape(str(value)) for key, value in attributes.items()}
    told = "".join(f' {key}="{value}"' for key, value in named.items())
    if name in VOID:
        return Html(f"<{name}{told}/>")
    return Html(f"<{name}{told}>{join(children)}</{name}>")


def join(children: Iterable[str]) -> Html:
    """Children one after the other, escaped where they are text."""
    return Html("".join(child if isinstance(child, Html) else html.escape(child) for child in children))


def table(kind: str, head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Html:
    """A table of a style class; the first cell of a row is its heading."""
    body = (tag("tr", tag("th", first, scope="row"), *(tag("td", cell) for cell in rest)) for first, *rest in rows)
    titles = tag("thead", tag("tr", *(tag("th", title, scope="col") for title in head)))
    return tag("table", titles, tag("tbody", *body), class_=kind)


def number(value: float) -> str:
    """Three significant digits, thousands apart; very small and very large ones with an exponent."""
    if value == 0 or 1e-4 <= abs(value) < 1e7:
        return f"{value:,.0f}" if abs(value) >= 999.5 else f"{value:.3g}"
    mantissa, _, exponent = f"{value:.2e}".partition("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def duration(seconds: float) -> str:
    """As people say it: 17 s, 6 min 3 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
