"""Small pictures that the report and the dashboard share, as SVG that takes its colours from the page's style sheet."""

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup, escape

from service.changes import WORDS

WIDTH, ROW, LABEL = 640, 26, 210
"""Pixels at full size; an SVG scales."""


def sparkline(values: Sequence[float | None], width: int = 96, height: int = 20) -> Markup:
    """A probability, month by month; nothing for screen readers, the number stands beside it."""
    known = [(n, v) for n, v in enumerate(values) if v is not None]
    if len(known) < 2:
        return Markup("")
    step = (width - 2) / max(len(values) - 1, 1)
    line = " ".join(f"{1 + n * step:.1f},{height - 1 - v * (height - 2):.1f}" for n, v in known)
    return Markup(f'<svg class="spark" viewBox="0 0 {width} {height}" aria-hidden="true"><polyline points="{line}"/></svg>')


def waterfall(row: dict[str, Any]) -> Markup:
    """From the log odds a year ago's figures gave, source by source, to the log odds now."""
    if not row["evidence"] or not row["log_odds"]:
        return Markup("")
    before, after = row["log_odds"]
    steps, at = [("a year ago's figures alone", 0.0, before, "total")], before
    for source, value in sorted(row["evidence"].items(), key=lambda s: -abs(s[1])):
        steps.append((WORDS.get(source, source), at, at + value, "for" if value >= 0 else "against"))
        at += value
    steps.append(("all that is known now", 0.0, after, "total"))
    ends = [v for _, a, b, _ in steps for v in (a, b)]
    low, high = min([*ends, 0.0]), max([*ends, 0.0])
    scale = (WIDTH - LABEL - 70) / max(high - low, 1e-9)

    def x(value: float) -> float:
        return LABEL + (value - low) * scale

    parts = [f'<line class="axis" x1="{x(0):.1f}" x2="{x(0):.1f}" y1="0" y2="{ROW * len(steps)}"/>']
    for n, (name, a, b, kind) in enumerate(steps):
        left, right, y = x(min(a, b)), x(max(a, b)), n * ROW
        value = f"{b:+.2f}" if kind == "total" else f"{b - a:+.2f}"
        parts.append(
            f'<text x="{LABEL - 8}" y="{y + 17}" text-anchor="end">{escape(name)}</text>'
            f'<rect class="{kind}" x="{left:.1f}" y="{y + 5}" width="{max(right - left, 1):.1f}" height="{ROW - 10}"/>'
            f'<text x="{right + 5:.1f}" y="{y + 17}">{value}</text>'
        )
    told = "; ".join(f"{name} {b - a if kind != 'total' else b:+.2f}" for name, a, b, kind in steps)
    label = f"Log odds of a restriction, step by step: {told}."
    return Markup(
        f'<svg class="waterfall" viewBox="0 0 {WIDTH} {ROW * len(steps)}" role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'
    )


def reliability(bins: dict[str, Any], side: int = 300) -> Markup:
    """Share restricted against mean forecast, bins of equal mass, 95 % intervals; the diagonal is what a probability promises."""
    edge = 34

    def place(forecast: float, observed: float) -> tuple[float, float]:
        return edge + forecast * (side - edge - 8), side - edge - observed * (side - edge - 8)

    (x0, y0), (x1, y1) = place(0, 0), place(1, 1)
    parts = [f'<line class="promise" x1="{x0}" y1="{y0}" x2="{x1}" y2="{y1}"/>']
    for value in (0, 0.5, 1):
        x, y = place(value, value)
        parts.append(f'<text x="{x:.0f}" y="{side - edge + 15}" text-anchor="middle">{value:g}</text>')
        parts.append(f'<text x="{edge - 5}" y="{y + 4:.0f}" text-anchor="end">{value:g}</text>')
    columns = (bins[name] for name in ("forecast", "observed", "observed_low", "observed_high"))
    for forecast, observed, low, high in zip(*columns, strict=True):
        (x, top), (_, bottom), (_, y) = place(forecast, high), place(forecast, low), place(forecast, observed)
        parts.append(
            f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{top:.1f}" y2="{bottom:.1f}"/><circle cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
        )
    parts.append(f'<text x="{side / 2}" y="{side - 3}" text-anchor="middle">forecast p(restricted)</text>')
    parts.append(f'<text x="10" y="{side / 2}" text-anchor="middle" transform="rotate(-90 10 {side / 2})">share restricted</text>')
    pairs = ", ".join(f"{f:.2f} came true {o:.2f}" for f, o in zip(bins["forecast"], bins["observed"], strict=True))
    label = f"Reliability: of forecasts of mean {pairs}."
    return Markup(f'<svg class="reliability" viewBox="0 0 {side} {side}" role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>')
