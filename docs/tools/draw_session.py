"""Run an update that fails half-way, and draw what the terminal shows: docs/images/an-update-that-fails.svg.

    python docs/tools/draw_session.py

The commands are really run, on a terminal of 88 columns, with the example application. A test fails while the picture
shows another text than they print. Colours are those that the commands choose; the picture follows the reader's choice
of light or dark.
"""

import fcntl
import itertools
import os
import pty
import re
import struct
import sys
import tempfile
import termios
from collections.abc import Iterator
from html import escape
from pathlib import Path

import run_sessions
from rich.color import ColorType
from rich.style import Style
from rich.text import Text

PICTURE = run_sessions.DOCS / "images" / "an-update-that-fails.svg"
SHOWN = "/home/kim/tracklib"
COLUMNS = 88

BEFORE = (
    "mkdir -p .demo/data",
    "fietsupdate update v1.0 --yes",
    "python docs/example/fill.py",
    "fietsupdate update v1.1 --yes",
    "mv .demo/data/tracks/5 .demo/",
)
"""What has happened before the picture begins: somebody has moved a recording away."""
COMMANDS = (
    "fietsupdate check",
    "fietsupdate update --yes",
    "mv .demo/5 .demo/data/tracks/",
    "fietsupdate update --yes",
    "fietsupdate check",
)

CONTROL = re.compile(r"(\r|\n|\x1b\[\d*[A-Za-ln-z]|\x1b\[\?\d+[hl])")
"""What moves the cursor or erases; sequences that end in `m` set colours, and stay in the text."""
COLORS = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")

WIDE, HIGH = 8.4, 20
"""Pixels of one character, and of one line."""
EDGE, TOP = 20, 48

STYLE = """
  .window { fill: #fbfbfa; stroke: #d0d0cc; } .dot { fill: #d0d0cc; }
  text { font: 14px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #24292e;
    white-space: pre; }
  .title { fill: #75757a; text-anchor: middle; font-size: 12px; }
  .prompt { fill: #75757a; } .bold { font-weight: 700; } .dim { fill: #6a6a70; } .italic { font-style: italic; }
  .red { fill: #b3261e; } .green { fill: #1b7a35; } .yellow { fill: #8a5a00; } .blue { fill: #1556b8; }
  .magenta { fill: #8b2fa0; } .cyan { fill: #0b6e7a; }
  @media (prefers-color-scheme: dark) {
    .window { fill: #16181d; stroke: #3a3f47; } .dot { fill: #3a3f47; }
    text { fill: #dfe2e7; } .title, .prompt { fill: #9aa1ab; } .dim { fill: #a3a9b2; }
    .red { fill: #ff8a80; } .green { fill: #7ddc93; } .yellow { fill: #f2c55c; } .blue { fill: #8ab8ff; }
    .magenta { fill: #e0a0f0; } .cyan { fill: #7fd6e2; }
  }
"""


def session() -> list[Text]:
    """Run the commands, and return the lines of the terminal."""
    with tempfile.TemporaryDirectory(prefix="trkl_", dir="/tmp") as made:  # as long as SHOWN: lines break alike
        folder = Path(made).resolve()
        assert len(str(folder)) == len(SHOWN), folder
        run_sessions.checkout(folder)
        for command in BEFORE:
            run_sessions.run(command, folder)
        return [line for command in COMMANDS for line in typed(command, folder)]


def typed(command: str, folder: Path) -> Iterator[Text]:
    """Run one command on the terminal; yield the line that types it and what it prints."""
    yield Text.assemble(("$ ", Style(meta={"class": "prompt"})), (command, "bold"))
    for line in settled(on_terminal(command, folder)):
        yield Text.from_ansi(run_sessions.steady(line, folder, SHOWN).removesuffix("\n"))


def on_terminal(command: str, folder: Path) -> str:
    """Run one command on a terminal of its own, and return all that it wrote."""
    child, terminal = pty.fork()
    if child == 0:
        fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
        os.chdir(folder)
        chosen = {"TERM": "xterm", "COLUMNS": str(COLUMNS)}
        inherited = {name: value for name, value in run_sessions.environment(folder).items() if name != "NO_COLOR"}
        os.execvpe("bash", ["bash", "-c", command], {**inherited, **chosen})
    written = b""
    try:
        while piece := os.read(terminal, 4096):
            written += piece
    except OSError:
        pass  # the terminal ends with its last user
    os.waitpid(child, 0)
    os.close(terminal)
    return written.decode()


def settled(written: str) -> list[str]:
    """Return the lines that stay on the screen, each with its colours; a line that moves is drawn over itself."""
    lines, row = [""], 0
    for piece in CONTROL.split(written):
        if piece == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif re.fullmatch(r"\x1b\[\d*A", piece):
            row = max(0, row - int(piece[2:-1] or 1))
        elif re.fullmatch(r"\x1b\[2?K", piece):
            lines[row] = ""
        elif not CONTROL.fullmatch(piece):
            lines[row] += piece
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def text_of(svg: str) -> list[str]:
    """Return the lines of a picture without their colours."""
    lines = re.findall(r'<text y="\d+"[^>]*>(.*?)</text>', svg)
    return [re.sub(r"&(amp|lt|gt|quot|#x27);", _character, re.sub(r"<[^>]+>", "", line)) for line in lines]


def _character(entity: re.Match[str]) -> str:
    return {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "#x27": "'"}[entity[1]]


def drawn(lines: list[Text]) -> str:
    """Return the picture as SVG."""
    wide, high = round(2 * EDGE + COLUMNS * WIDE), TOP + len(lines) * HIGH + EDGE // 2
    rows = "\n".join(_row(line, TOP + (number + 1) * HIGH - 6) for number, line in enumerate(lines))
    dots = "".join(f'<circle class="dot" cx="{EDGE + 2 + 18 * n}" cy="20" r="5.5"/>' for n in range(3))
    title = (
        "An update fails half-way and both halves are taken back; when the cause is mended, the same command goes on"
    )
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" role="img" aria-label="{title}">
<!-- Written by docs/tools/draw_session.py, which runs the commands; change them there, and run it again. -->
<title>{title}</title>
<style>{STYLE}</style>
<rect class="window" x="0.5" y="0.5" width="{wide - 1}" height="{high - 1}" rx="9"/>
{dots}<text class="title" x="{wide // 2}" y="24">kim@server: ~/tracklib</text>
{rows}
</svg>
"""


def _row(line: Text, y: int) -> str:
    if not line.plain.strip():
        return f'<text y="{y}"></text>'
    length = f'x="{EDGE}" textLength="{len(line) * WIDE:.1f}" lengthAdjust="spacingAndGlyphs"'
    return f'<text y="{y}" {length}>{"".join(_spans(line))}</text>'


def _spans(line: Text) -> Iterator[str]:
    """Yield the pieces of a line, each with the classes of its style."""
    edges = sorted({0, len(line), *(edge for span in line.spans for edge in (span.start, span.end))})
    for start, end in itertools.pairwise(edges):
        styles = [span.style for span in line.spans if span.start <= start and end <= span.end]
        names = " ".join(dict.fromkeys(name for style in styles for name in _classes(style)))
        text = escape(line.plain[start:end])
        yield f'<tspan class="{names}">{text}</tspan>' if names else text


def _classes(style: Style | str) -> Iterator[str]:
    style = Style.parse(style) if isinstance(style, str) else style
    if style.meta.get("class"):
        yield style.meta["class"]
    yield from (name for name in ("bold", "dim", "italic") if getattr(style, name))
    if style.color is not None and style.color.type in {ColorType.STANDARD, ColorType.EIGHT_BIT}:
        number = style.color.number or 0
        if number < 2 * len(COLORS) and (name := COLORS[number % len(COLORS)]) not in {"black", "white"}:
            yield name


if __name__ == "__main__":
    PICTURE.write_text(drawn(session()), encoding="utf-8")
    sys.stdout.write(f"wrote {PICTURE}\n")
