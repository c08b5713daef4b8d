"""The picture on the first page of the documentation shows what the commands print."""

from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "docs" / "tools"


@pytest.fixture
def draw_session(monkeypatch):
    monkeypatch.syspath_prepend(str(TOOLS))
    import draw_session

    return draw_session


def test_the_picture_shows_what_the_terminal_shows(draw_session):
    """`python docs/tools/draw_session.py` draws it anew; colours may differ from those of today."""
    shown = draw_session.text_of(draw_session.PICTURE.read_text(encoding="utf-8"))
    assert shown == [line.plain for line in draw_session.session()]


def test_a_line_that_moves_is_drawn_over_itself(draw_session):
    written = "a\r\n\x1b[32m50 %\x1b[0m\r\x1b[2K\x1b[1A\x1b[2Kb\r\n\x1b[?25hdone\r\n"
    assert draw_session.settled(written) == ["b", "done"]
