"""Plots as SVG text: they need no package, no network and no script, and follow the page's colours."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from itertools import pairwise

__all__ = ["bars", "curve"]

_WIDTH, _HEIGHT = 420, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 12, 40
_INNER = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
_TICKS = 4

Points = Sequence[tuple[float, float]]


def bars(title: str, across: str, heights: Points) -> str:
    """A histogram: (place, height) of each bar, in the order of their places."""
    if not heights:
        return ""
    low, high = heights[0][0], heights[-1][0]
    top = max(height for _, height in heights) or 1
    step = min((b[0] - a[0] for a, b in pairwise(heights)), default=1.0)
    span = high - low + step
    width = max(1.0, _INNER[0] * step / span - 1)
    body = "".join(
        f'<rect x="{_LEFT + _INNER[0] * (place - low) / span:.1f}" y="{_y(height / top):.1f}" '
        f'width="{width:.1f}" height="{_INNER[1] * height / top:.1f}"/>'
        for place, height in heights
    )
    return _frame(title, across, (low, high), (0.0, top), f'<g fill="currentColor">{body}</g>', _plain)


def curve(title: str, across: str, points: Points, *, logarithmic: bool = False, diagonal: bool = False) -> str:
    """A line through points; with logarithmic axes, or with the diagonal that they would follow if all were equal."""
    if not points:
        return ""
    scale: Callable[[float], float] = math.log10 if logarithmic else float
    xs, ys = ([scale(point[axis]) for point in points] for axis in (0, 1))
    low, high, top = min(xs), max(xs), max(ys)
    bottom = 0.0 if not logarithmic else min(ys)
    places = " ".join(
        f"{_LEFT + _INNER[0] * (x - low) / (high - low or 1):.1f},{_y((y - bottom) / (top - bottom or 1)):.1f}"
        for x, y in zip(xs, ys, strict=True)
    )
    body = f'<polyline points="{places}" fill="none" stroke="currentColor" stroke-width="2"/>'
    if diagonal:
        body += (
            f'<line x1="{_LEFT}" y1="{_y(0)}" x2="{_LEFT + _INNER[0]}" y2="{_y(1)}" stroke="currentColor" '
            'stroke-dasharray="4" opacity=".5"/>'
        )
    told = (lambda value: _plain(10**value)) if logarithmic else _plain
    return _frame(title, across, (low, high), (bottom, top), body, told)


def _frame(
    title: str,
    across: str,
    x: tuple[float, float],
    y: tuple[float, float],
    body: str,
    told: Callable[[float], str],
) -> str:
    parts = []
    for tick in range(_TICKS + 1):
        share = tick / _TICKS
        right, up = _LEFT + _INNER[0] * share, _y(share)
        across_, up_ = (told(axis[0] + share * (axis[1] - axis[0])) for axis in (x, y))
        parts += [
            f'<text x="{right:.1f}" y="{_HEIGHT - 22}" text-anchor="middle">{across_}</text>',
            f'<text x="{_LEFT - 6}" y="{up + 4:.1f}" text-anchor="end">{up_}</text>',
            f'<line x1="{_LEFT}" y1="{up:.1f}" x2="{_LEFT + _INNER[0]}" y2="{up:.1f}" stroke="currentColor" '
            'opacity=".15"/>',
        ]
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}" '
        'xmlns="http://www.w3.org/2000/svg" font-family="system-ui, sans-serif" font-size="11" fill="currentColor">'
        f"{''.join(parts)}{body}"
        f'<text x="{_LEFT + _INNER[0] / 2}" y="{_HEIGHT - 4}" text-anchor="middle">{escape(across)}</text></svg>'
    )


def _y(share: float) -> float:
    return _TOP + _INNER[1] * (1 - share)


def _plain(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 10 or float(value).is_integer() else f"{value:.2g}"
