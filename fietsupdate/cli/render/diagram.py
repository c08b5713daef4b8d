"""The DAG of the updates as a drawing: lanes of text for a terminal, or Mermaid for a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fietsupdate.model import Update
from fietsupdate.planning.graph import Graph

UP, DOWN, LEFT, RIGHT = 1, 2, 4, 8

LINES = {
    UP | DOWN: "│", LEFT | RIGHT: "─", UP | RIGHT: "╰", UP | LEFT: "╯", DOWN | RIGHT: "╭", DOWN | LEFT: "╮",
    UP | DOWN | RIGHT: "├", UP | DOWN | LEFT: "┤", UP | LEFT | RIGHT: "┴", DOWN | LEFT | RIGHT: "┬",
    UP | DOWN | LEFT | RIGHT: "┼", 0: " ", UP: "╵", DOWN: "╷",
}  # fmt: skip
PLAIN = {
    UP | DOWN: "|", LEFT | RIGHT: "-", UP | RIGHT: "`", UP | LEFT: "'", DOWN | RIGHT: ",", DOWN | LEFT: ".", 0: " ",
}  # fmt: skip

MARKS = {"applied": "●", "pending": "○", "unknown": "?", "unseen": "○"}
PLAIN_MARKS = {"applied": "*", "pending": "o", "unknown": "?", "unseen": "o"}


@dataclass(frozen=True)
class Drawing:
    """The content of a drawing: the graph, and the position of an instance in it."""

    graph: Graph
    applied: frozenset[str] | None = None
    """``None``: no instance was read."""
    current: Sequence[str] = ()
    unknown: Sequence[str] = ()
    """Applied, but without a known script."""

    def mark(self, update_id: str) -> str:
        """Return ``applied``, ``pending``, or ``unseen`` where no instance was read."""
        if self.applied is None:
            return "unseen"
        return "applied" if update_id in self.applied else "pending"


def text(drawing: Drawing, width: int, *, lines: bool = True) -> str:
    """Return the drawing, newest updates on top, each above the ones that it comes after.

    Each folder is drawn by itself.

    Args:
        drawing: The content of the drawing.
        width: Columns; longer lines are cut, but never an id.
        lines: Whether line-drawing characters can be shown.
    """
    marks, chars = (MARKS, LINES) if lines else (PLAIN_MARKS, PLAIN)
    rows: list[str] = [f"{marks['unknown']} {one}  (applied; no script is known)" for one in drawing.unknown]
    for folder in drawing.graph.folders:
        drawn = _drawn(drawing, folder, marks, chars, width)
        several = len(drawing.graph.folders) > 1
        rows += ([""] if rows and several else []) + ([f"{folder}:"] if drawn and several else []) + drawn
    if not any(rows):
        return "There are no updates."
    legend = f"{marks['applied']} applied  {marks['pending']} pending"
    return "\n".join([*rows, *(["", legend] if drawing.applied is not None else [])])


def _drawn(drawing: Drawing, folder: str, marks: Mapping[str, str], chars: Mapping[int, str], width: int) -> list[str]:
    """Draw the updates of one folder; their predecessors in other folders are named, not drawn."""
    lanes, rows, own = Lanes(chars), list[str](), drawing.graph.of(folder)
    for update_id in reversed(drawing.graph.dag.sort(own)):
        update = drawing.graph.updates[update_id]
        inside = [previous for previous in update.previous if previous in own]
        before, row, after = lanes.place(update_id, inside, marks[drawing.mark(update_id)])
        rows += [*before, _line(row, update, drawing, width), *after]
    return rows


def _line(row: str, update: Update, drawing: Drawing, width: int) -> str:
    current = " (current)" if update.update_id in drawing.current else ""
    known = drawing.graph.updates
    outside = [f"{known[one].folder}:{one}" for one in update.previous if known[one].folder != update.folder]
    after = f"  (after {', '.join(outside)})" if outside else ""
    start = f"{row}  {update.update_id}{current}{after}"
    summary = f"  {update.summary}" if update.summary else ""
    whole = f"{start}{summary}"
    return whole if len(whole) <= width else _cut(start, summary, width)


def _cut(start: str, summary: str, width: int) -> str:
    room = width - len(start) - 3
    return f"{start}{summary[:room].rstrip()}..." if room > 5 else start  # noqa: PLR2004  # less says nothing


@dataclass
class Lanes:
    """Columns of the drawing; each holds the update that it leads down to."""

    chars: Mapping[int, str]
    lanes: list[str | None] = field(default_factory=list)

    def place(self, update_id: str, previous: Sequence[str], mark: str) -> tuple[list[str], str, list[str]]:
        """Draw one update: the lines that join above it, its own line, the lines that part below it."""
        before = self._join(update_id)
        column = self._column(update_id)
        row = self._row({column: mark})
        after = self._part(column, previous)
        return before, row, after

    def _join(self, update_id: str) -> list[str]:
        """Lead all lanes to one update into the first of them."""
        column, *others = [number for number, lane in enumerate(self.lanes) if lane == update_id] or [-1]
        rows = []
        for other in others:
            ends = {column: UP | DOWN, other: UP}
            self.lanes[other] = None
            rows.append(self._link(column, other, ends))
        return rows

    def _column(self, update_id: str) -> int:
        if update_id not in self.lanes:
            self.lanes[self._free()] = update_id
        return self.lanes.index(update_id)

    def _free(self, after: int = -1) -> int:
        """Return an empty lane, preferably the nearest one to the right of `after`; make one if there is none.

        Lanes on the left are used again, too: a ladder of two thousand updates would drift right without end.
        """
        empty = [number for number, lane in enumerate(self.lanes) if lane is None]
        if empty:
            return next((number for number in empty if number > after), empty[-1])
        self.lanes.append(None)
        return len(self.lanes) - 1

    def _part(self, column: int, previous: Sequence[str]) -> list[str]:
        """Assign a lane to each update before this one; the first goes straight down."""
        self.lanes[column] = previous[0] if previous else None
        rows = []
        for one in previous[1:]:
            if one in self.lanes:
                other = self.lanes.index(one)
                rows.append(self._link(column, other, {column: UP | DOWN, other: UP | DOWN}))
            else:
                other = self._free(column)
                rows.append(self._link(column, other, {column: UP | DOWN, other: DOWN}))
                self.lanes[other] = one
        while self.lanes and self.lanes[-1] is None:
            self.lanes.pop()
        return rows

    def _link(self, one: int, other: int, ends: Mapping[int, int]) -> str:
        """Draw a row in which a line runs between two lanes."""
        left, right = sorted((one, other))
        cells: dict[int, str] = {}
        for number in range(left, right + 1):
            through = UP | DOWN if number < len(self.lanes) and self.lanes[number] is not None else 0
            sides = (RIGHT if number < right else 0) | (LEFT if number > left else 0)
            cells[number] = self._char(ends.get(number, through) | sides)
        return self._row(cells, between=range(left, right))

    def _char(self, directions: int) -> str:
        return self.chars.get(directions, "+")

    def _row(self, cells: Mapping[int, str], between: range = range(0)) -> str:
        width = max(len(self.lanes), *(number + 1 for number in cells))
        row = ""
        for number in range(width):
            through = UP | DOWN if number < len(self.lanes) and self.lanes[number] is not None else 0
            row += cells.get(number, self._char(through))
            row += self._char(LEFT | RIGHT) if number in between else " "
        return row.rstrip()


def mermaid(drawing: Drawing) -> str:
    """Return a Mermaid flowchart, oldest updates on top; Mermaid's own words and signs in ids do no harm."""
    names = {update_id: f"u{number}" for number, update_id in enumerate(drawing.graph.dag.order, start=1)}
    lines = ["flowchart TD"]
    for folder in drawing.graph.folders:
        lines += _subgraph(drawing, folder, names)
    lines += [f'    x{number}["{_quoted(one)}"]:::unknown' for number, one in enumerate(drawing.unknown, start=1)]
    for update_id, name in names.items():
        lines += [f"    {names[one]} --> {name}" for one in drawing.graph.updates[update_id].previous]
    return "\n".join([*lines, *CLASSES])


CLASSES = (
    "    classDef applied fill:#cfe8cf,stroke:#2e7d32,color:#000",
    "    classDef pending fill:#fff,stroke:#777,color:#000,stroke-dasharray:4 3",
    "    classDef unseen fill:#fff,stroke:#777,color:#000",
    "    classDef unknown fill:#f6d5d5,stroke:#b71c1c,color:#000",
)


def _subgraph(drawing: Drawing, folder: str, names: Mapping[str, str]) -> list[str]:
    """Return the updates of one folder, in a frame of their own if there are several folders."""
    graph = drawing.graph
    nodes = [
        f'    {name}["{_label(graph.updates[update_id])}"]:::{drawing.mark(update_id)}'
        for update_id, name in names.items()
        if graph.updates[update_id].folder == folder
    ]
    if len(graph.folders) < 2 or not nodes:  # noqa: PLR2004  # a single folder needs no frame
        return nodes
    frame = f'    subgraph f{graph.folders.index(folder) + 1}["{_quoted(folder)}"]'
    return [frame, *(f"    {node}" for node in nodes), "    end"]


def _label(update: Update) -> str:
    return "<br/>".join(_quoted(part) for part in (update.update_id, update.summary) if part)


def _quoted(text_: str) -> str:
    """Escape characters that would end a label, or begin markup in it."""
    entities = {"&": "&amp;", '"': "#quot;", "<": "&lt;", ">": "&gt;", "#": "#35;", "`": "#96;"}
    return "".join(entities.get(char, char) for char in text_)
