"""Small charts as SVG, for the documentation: steps, bars and lines over seconds. One chart is a stack of panels."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final
from xml.sax.saxutils import escape

WIDTH: Final = 860
MARGIN: Final = (64, 24)
"""Pixels left and right of a panel."""

HEAD: Final = 46
"""Pixels above a panel, for its title and its legend."""

GAP: Final = 34
"""Pixels below a panel, for the scale of seconds."""

INK: Final = "#24292f"
FAINT: Final = "#d0d7de"

Points = Sequence[tuple[float, float]]


@dataclass(slots=True)
class Panel:
    """One diagram. ``seconds`` and ``most`` are where its scales end, which begin at 0."""

    title: str
    seconds: float
    most: float
    height: int = 190
    tick: float = 50
    _shapes: list[str] = field(default_factory=list)
    _legend: list[tuple[str, str, str]] = field(default_factory=list)

    def steps(self, points: Points, *, color: str, label: str) -> None:
        """A value that holds until the next one."""
        at = [f"M{self._x(points[0][0]):.1f},{self._y(points[0][1]):.1f}"]
        at += [f"H{self._x(second):.1f}V{self._y(value):.1f}" for second, value in points[1:]]
        self._shapes.append(f'<path d="{"".join(at)}" fill="none" stroke="{color}" stroke-width="2.5"/>')
        self._legend.append((color, "", label))

    def bars(self, points: Points, *, width: float, color: str, label: str) -> None:
        """A value for the seconds from each point on, ``width`` of them."""
        for second, value in points:
            if value:
                left, top = self._x(second), self._y(value)
                wide, high = self._x(second + width) - left - 2, self._y(0) - top
                self._shapes.append(
                    f'<rect x="{left + 1:.1f}" y="{top:.1f}" width="{wide:.1f}" height="{high:.1f}" fill="{color}"/>'
                )
                self._shapes.append(_text(left + wide / 2 + 1, top - 5, f"{value:g}", size=12, anchor="middle"))
        self._legend.append((color, "", label))

    def level(self, value: float, *, color: str, label: str) -> None:
        """A value that is not to be exceeded."""
        at = self._y(value)
        self._shapes.append(
            f'<path d="M{self._x(0)},{at:.1f}H{self._x(self.seconds)}" stroke="{color}" stroke-width="1.5" '
            'stroke-dasharray="7 5"/>'
        )
        self._legend.append((color, "7 5", label))

    def moments(self, marks: Sequence[tuple[float, str]], *, label: str) -> None:
        """When something happened, and to whom."""
        for second, name in marks:
            at = self._x(second)
            self._shapes.append(
                f'<path d="M{at:.1f},{self._y(self.most)}V{self._y(0)}" stroke="{INK}" stroke-dasharray="2 4"/>'
            )
            self._shapes.append(_text(at + 4, self._y(self.most) + 13, name, size=12))
        self._legend.append((INK, "2 4", label))

    def draw(self, top: float) -> str:
        """The panel, so many pixels below the picture's upper edge."""
        parts = [_text(MARGIN[0], HEAD - 28, self.title, size=15, weight="600")]
        across = float(MARGIN[0])
        for color, dash, label in self._legend:
            dashes = f' stroke-dasharray="{dash}"' if dash else ""
            parts.append(f'<path d="M{across:.1f},{HEAD - 13}h22" stroke="{color}" stroke-width="3"{dashes}/>')
            parts.append(_text(across + 28, HEAD - 9, label, size=12))
            across += 52 + 6.4 * len(label)
        value = 0.0
        while value <= self.most:
            at = self._y(value)
            parts.append(f'<path d="M{self._x(0)},{at:.1f}H{self._x(self.seconds)}" stroke="{FAINT}"/>')
            parts.append(_text(MARGIN[0] - 8, at + 4, f"{value:g}", size=12, anchor="end"))
            value += self.tick
        for second in range(0, int(self.seconds) + 1, 10):
            at = self._x(second)
            parts.append(f'<path d="M{at:.1f},{self._y(0)}v5" stroke="{INK}"/>')
            parts.append(_text(at, self._y(0) + 19, f"{second} s", size=12, anchor="middle"))
        return f'<g transform="translate(0,{top:g})">{"".join(parts)}{"".join(self._shapes)}</g>'

    def _x(self, second: float) -> float:
        return MARGIN[0] + second / self.seconds * (WIDTH - sum(MARGIN))

    def _y(self, value: float) -> float:
        return HEAD + self.height * (1 - value / self.most)


def picture(panels: Sequence[Panel], *, description: str) -> str:
    """The whole file. ``description`` is for those who can't see it."""
    drawn, top = [], 8.0
    for panel in panels:
        drawn.append(panel.draw(top))
        top += HEAD + panel.height + GAP
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top:g}" width="{WIDTH}" height="{top:g}" '
        f'font-family="system-ui, sans-serif" role="img">\n<title>{escape(description)}</title>\n'
        f'<rect width="100%" height="100%" fill="#ffffff"/>\n' + "\n".join(drawn) + "\n</svg>\n"
    )


def _text(x: float, y: float, text: str, *, size: int, anchor: str = "start", weight: str = "400") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" font-weight="{weight}" '
        f'fill="{INK}">{escape(text)}</text>'
    )
