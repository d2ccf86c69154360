"""A plot as SVG: curves over two logarithmic axes. Text and lines only, so that it shows everywhere and differs readably in a diff."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from subduct.bench.table import in_units

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from subduct.bench.result import Result
    from subduct.bench.table import Row

_WIDTH, _HEIGHT = 790, 470
_LEFT, _RIGHT, _TOP, _BOTTOM = 74, 208, 64, 74
_LABEL_GAP = 15.0
_TICK_GAP = 52.0


@dataclass(frozen=True, slots=True)
class Curve:
    """Points of one measured thing, in order of x; `low` and `high` span what its repetitions spread over, where known."""

    name: str
    colour: str
    points: Sequence[tuple[float, float]]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    is_dashed: bool = False


# What is plotted, and in which colour: told apart by people who do not see red from green as well.
_ALTERNATIVES = (
    ("madv_dontneed", "MADV_DONTNEED", "#8c510a"),
    ("fork", "fork", "#762a83"),
    ("misaligned_move", "misaligned move", "#bf812d"),
    ("register_first_move", "register first", "#9970ab"),
    ("memcpy", "memcpy", "#636363"),
)


def pause_plot(result: Result) -> str:
    """The pause against the live heap, beside what else could be done, as the text of an SVG file. ValueError when there are fewer
    than two sizes: a curve needs them."""
    rows = sorted(result.rows, key=lambda row: row["size_bytes"])
    if len(rows) < 2:
        raise ValueError("a plot against the heap's size needs at least two --sizes")

    def curve(name: str, colour: str, value: Callable[[Row], float | None], *, is_dashed: bool = False) -> Curve:
        points = [(row["size_bytes"], found) for row in rows if (found := value(row)) is not None]
        return Curve(name, colour, points, is_dashed=is_dashed)

    pauses = Curve(
        "flip, median",
        "#2166ac",
        [(row["size_bytes"], row["median_us"]) for row in rows],
        [row["spread_us"]["min"] for row in rows],
        [row["spread_us"]["max"] for row in rows],
    )
    curves = [
        pauses,
        curve("flip, p99", "#2166ac", lambda row: row["steady_p99_us"], is_dashed=True),
        curve("the two calls alone", "#000000", lambda row: row["bare"]["median_us"], is_dashed=True),
    ]
    for name, label, colour in _ALTERNATIVES:

        def median_us(row: Row, name: str = name) -> float | None:
            found: float | None = row["alternatives"].get(name, {}).get("median_us")
            return found

        curves.append(curve(label, colour, median_us))
    machine = result.machine
    caption = f"{machine.processor}, {machine.processors} processors, {machine.kernel}, {machine.date}"
    return _draw(
        "How long threads stand still, by live heap", [each for each in curves if len(each.points) > 1], caption
    )


def _draw(title: str, curves: Sequence[Curve], caption: str) -> str:
    xs = [x for curve in curves for x, _ in curve.points]
    ys = [y for curve in curves for _, y in curve.points]
    x_low, x_high = min(xs), max(xs)
    y_low, y_high = 10 ** math.floor(math.log10(min(ys))), 10 ** math.ceil(math.log10(max(ys)))
    to_x = _scale(x_low, x_high, _LEFT, _WIDTH - _RIGHT)
    to_y = _scale(y_low, max(y_high, y_low * 10), _HEIGHT - _BOTTOM, _TOP)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" '
            f'height="{_HEIGHT}" font-family="Helvetica, Arial, DejaVu Sans, sans-serif" font-size="12" fill="#222">',
            f"<title>{escape(title)}</title>",
            f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
            f'<text x="{_LEFT}" y="26" font-size="16" font-weight="600">{escape(title)}</text>',
            f'<text x="{_LEFT}" y="44" fill="#555">both axes logarithmic; the same threads parked for each, all in one run</text>',
            *_axes(sorted(set(xs)), (y_low, max(y_high, y_low * 10)), to_x, to_y),
            *[line for curve in curves for line in _curve(curve, to_x, to_y)],
            *_labels(curves, to_y),
            f'<text x="{_LEFT}" y="{_HEIGHT - 14}" font-size="11" fill="#555">{escape(caption)}</text>',
            "</svg>",
            "",
        ]
    )


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    width = math.log(high / low) if high > low else 1.0
    return lambda value: start + (end - start) * math.log(value / low) / width


def _axes(
    xs: Sequence[float], y_range: tuple[float, float], to_x: Callable[[float], float], to_y: Callable[[float], float]
) -> list[str]:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    lines = []
    decade = y_range[0]
    while decade <= y_range[1] * 1.001:
        y = to_y(decade)
        lines.append(f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" stroke="#ddd"/>')
        lines.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{_time(decade)}</text>')
        decade *= 10
    free = 0.0
    for x in xs:
        at = to_x(x)
        lines.append(f'<line x1="{at:.1f}" y1="{bottom}" x2="{at:.1f}" y2="{bottom + 5}" stroke="#222"/>')
        if at >= free:
            lines.append(f'<text x="{at:.1f}" y="{bottom + 20}" text-anchor="middle">{in_units(x)}</text>')
            free = at + _TICK_GAP
    lines.append(f'<line x1="{_LEFT}" y1="{bottom}" x2="{right}" y2="{bottom}" stroke="#222"/>')
    middle = (_LEFT + right) / 2
    lines.append(f'<text x="{middle:.1f}" y="{bottom + 38}" text-anchor="middle" fill="#555">live heap</text>')
    return lines


def _time(us: float) -> str:
    if us >= 1e6:
        return f"{us / 1e6:g} s"
    return f"{us / 1e3:g} ms" if us >= 1e3 else f"{us:g} us"


def _curve(curve: Curve, to_x: Callable[[float], float], to_y: Callable[[float], float]) -> list[str]:
    places = [(to_x(x), to_y(y)) for x, y in curve.points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dash = ' stroke-dasharray="5 4"' if curve.is_dashed else ""
    lines = []
    for (x, _), low, high in zip(places, curve.low, curve.high, strict=False):
        lines.append(
            f'<line x1="{x:.1f}" y1="{to_y(low):.1f}" x2="{x:.1f}" y2="{to_y(high):.1f}" '
            f'stroke="{curve.colour}" stroke-width="5" stroke-opacity="0.35"/>'
        )
    lines.append(f'<polyline points="{path}" fill="none" stroke="{curve.colour}" stroke-width="2"{dash}/>')
    lines += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{curve.colour}"/>' for x, y in places]
    return lines


def _labels(curves: Sequence[Curve], to_y: Callable[[float], float]) -> list[str]:
    """The names at the right ends of the curves, moved apart where they would overlap."""
    wanted = sorted(((to_y(curve.points[-1][1]), curve) for curve in curves), key=lambda pair: pair[0])
    last = max(x for curve in curves for x, _ in curve.points)
    lines = []
    free = 0.0
    for y, curve in wanted:
        at = max(y, free)
        free = at + _LABEL_GAP
        x, value = curve.points[-1]
        # A curve that ends before the others says where.
        where = "" if x == last else f" at {in_units(x)}"
        label = escape(f"{curve.name}{where}: {_time(float(f'{value:.2g}'))}")
        lines.append(f'<text x="{_WIDTH - _RIGHT + 10}" y="{at + 4:.1f}" fill="{curve.colour}">{label}</text>')
    return lines
