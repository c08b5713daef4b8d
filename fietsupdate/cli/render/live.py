"""The progress of a run on a terminal: the lines that stay, and below them one line that moves."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from fietsupdate.cli.render import working
from fietsupdate.cli.render.events import INDENT, EventPrinter, Narrator, amount
from fietsupdate.cli.render.layout import duration, hanging
from fietsupdate.cli.render.output import Canvas, Output, on_one_line, painted, printable
from fietsupdate.commands.working import Working
from fietsupdate.model import Event
from fietsupdate.model.run_state import RunState

if TYPE_CHECKING:
    from rich.progress import Progress
    from rich.text import Text

WIDE = 72
"""Columns from which on there is room for a bar and for amounts."""
_BEGINS = frozenset({"update_begun", "backup_begun", "restore_begun", "cloning"})


class LiveListener(EventPrinter):
    """Keeps one moving line at the bottom of a terminal: time elapsed, update, phase, percent, rate, time left.

    rich draws it, and is not imported before the first update begins.
    """

    def __init__(self, out: Output, *, verbose: bool = False) -> None:
        super().__init__()
        self.out = out
        self.narrator = Narrator(verbose=verbose)
        self.view: Progress | None = None
        self._working = Working(RunState("", 0, "", ""))

    def show(self, event: Event) -> None:
        """Write the lines that stay above the moving one, and move it."""
        self._working(event)
        lines = self.narrator.lines(event)
        if event.event in _BEGINS and self.view is None:
            self._start()
        for line in lines:
            self._say("\n".join(hanging(on_one_line(line), self.out.width, INDENT)))
        if self.view is not None:
            self._move(event)

    def _start(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.table import Column

        console = Console(
            file=Canvas(self.out),  # type: ignore[arg-type]  # enough of a file for rich
            force_terminal=True,
            no_color=not self.out.colored,
            color_system="standard",
            markup=False,
            highlight=False,
        )
        text = Column(no_wrap=True, overflow="ellipsis", ratio=1)
        columns: list[ProgressColumn] = [
            SpinnerColumn("dots" if self.out.draws else "line"),
            TimeElapsedColumn(),
            TextColumn("{task.description}", markup=False, table_column=text),
        ]
        if self.out.width >= WIDE:
            columns.append(BarColumn(bar_width=16))
        self.view = Progress(*columns, console=console, transient=True, expand=True)
        self.view.add_task("", total=None)
        self.view.start()

    def _say(self, text: str) -> None:
        if self.view is None:
            self.out.show(text)
        else:
            self.view.console.print(self._safe(text), soft_wrap=True)

    def _safe(self, text: str) -> Text | str:
        if not self.out.colored:
            return printable(text)
        from rich.text import Text

        return Text.from_ansi(painted(printable(text)))

    def _move(self, event: Event) -> None:
        assert self.view is not None  # noqa: S101  # for the type checker: the only caller has looked
        task, state = self.view.task_ids[0], self._working.state
        if event.event in _BEGINS:
            self.view.reset(task, total=None)
        text = on_one_line(self._description(event, state))
        self.view.update(task, completed=state.done, total=state.total or None, description=text)

    def _description(self, event: Event, state: RunState) -> str:
        """Return what is done and how far it is, as long as there is room for it."""
        what = ", ".join(working.doing(state, progress=False))
        percent = f"{state.percent} %" if state.percent is not None else ""
        left = f"{duration(state.left * 1000)} left" if state.left else ""
        if self.out.width < WIDE:
            return ", ".join(part for part in (percent, left, what) if part)
        if event.event != "progress":
            return what
        parts = [what, percent, amount(event)]
        if state.unit != "bytes":
            parts += [f"{state.rate} a second" if state.rate else "", left]
        return ", ".join(part for part in parts if part)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the moving line."""
        if self.view is not None:
            self.view.stop()
