"""A grid of dots in a terminal: eight to a character in braille, fewer in plain ASCII."""

from __future__ import annotations

from itertools import groupby

from rich.style import Style
from rich.text import Text

_BRAILLE = 0x2800
_BITS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""The bit of a braille character for each of its four rows and two columns of dots."""

_ROW_MASKS = tuple(left | right for left, right in _BITS)


def ascii_cell(bits: int) -> str:
    """Return the ASCII character nearest to a braille pattern: by the rows that hold dots."""
    rows = [row for row, mask in enumerate(_ROW_MASKS) if bits & mask]
    if not rows:
        return " "
    if len(rows) > 2:
        return "|"
    height = sum(rows) / len(rows)
    return "'" if height < 1 else "." if height > 2 else "-"


class Canvas:
    """Dots, lines, shade and characters on ``columns`` x ``rows`` cells.

    Dots are addressed from the top left: ``x`` in 0..2*columns-1, ``y`` in 0..4*rows-1; what
    lies outside is not drawn. In a cell the character wins over dots, and dots over shade;
    of dots, the style drawn first stays.
    """

    def __init__(self, columns: int, rows: int) -> None:
        self.columns, self.rows = columns, rows
        self._dots = [[0] * columns for _ in range(rows)]
        self._shade = [[0] * columns for _ in range(rows)]
        self._characters: dict[tuple[int, int], tuple[str, Style]] = {}
        self._styles: dict[tuple[int, int], Style] = {}
        self._shade_styles: dict[tuple[int, int], Style] = {}

    def dot(self, x: int, y: int, style: Style) -> None:
        """Set one dot."""
        if 0 <= x < 2 * self.columns and 0 <= y < 4 * self.rows:
            row, column = y // 4, x // 2
            self._dots[row][column] |= _BITS[y % 4][x % 2]
            self._styles.setdefault((row, column), style)

    def line(self, start: tuple[int, int], end: tuple[int, int], style: Style) -> None:
        """Set the dots of a straight line, both ends included."""
        steps = max(abs(end[0] - start[0]), abs(end[1] - start[1]), 1)
        for step in range(steps + 1):
            x = start[0] + (end[0] - start[0]) * step / steps
            y = start[1] + (end[1] - start[1]) * step / steps
            self.dot(round(x), round(y), style)

    def shade(self, x: int, top: int, bottom: int, style: Style) -> None:
        """Shade a column of dots between two heights: every second dot, in a chequer."""
        if not 0 <= x < 2 * self.columns:
            return
        for y in range(max(top, 0), min(bottom, 4 * self.rows - 1) + 1):
            if (x + y) % 2 == 0 and x % 2 == 0:
                row, column = y // 4, x // 2
                self._shade[row][column] |= _BITS[y % 4][x % 2]
                self._shade_styles.setdefault((row, column), style)

    def write(self, column: int, row: int, text: str, style: Style) -> None:
        """Write characters over the dots, from one cell to the right."""
        for offset, character in enumerate(text):
            if 0 <= column + offset < self.columns and 0 <= row < self.rows:
                self._characters[(row, column + offset)] = (character, style)

    def is_free(self, column: int, row: int, length: int) -> bool:
        """Whether ``length`` cells from here lie on the canvas and hold no line or character."""
        if not (0 <= row < self.rows and column >= 0 and column + length <= self.columns):
            return False
        cells = [(row, column + offset) for offset in range(length)]
        return not any(cell in self._styles or cell in self._characters for cell in cells)

    def render(self, ascii_only: bool = False) -> list[Text]:
        """Return the rows as text, top first."""
        lines = []
        for row in range(self.rows):
            cells = [self._cell(row, column, ascii_only) for column in range(self.columns)]
            line = Text(no_wrap=True)
            for style, group in groupby(cells, key=lambda cell: cell[1]):
                line.append("".join(character for character, _ in group), style)
            lines.append(line)
        return lines

    def _cell(self, row: int, column: int, ascii_only: bool) -> tuple[str, Style | None]:
        cell = (row, column)
        if cell in self._characters:
            return self._characters[cell]
        if bits := self._dots[row][column]:
            return (ascii_cell(bits) if ascii_only else chr(_BRAILLE + bits)), self._styles[cell]
        if bits := self._shade[row][column]:
            return (":" if ascii_only else chr(_BRAILLE + bits)), self._shade_styles[cell]
        return " ", None
