"""What people and programs get to read."""

import io
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fietsupdate.cli.render.layout
from fietsupdate.cli.render import diagram, documents, dot, errors
from fietsupdate.cli.render import text as console
from fietsupdate.cli.render.diagram import Drawing
from fietsupdate.cli.render.events import (
    INTERVAL,
    EventPrinter,
    JsonListener,
    LineListener,
    Narrator,
    listener,
)
from fietsupdate.cli.render.layout import duration, hanging, labelled, table, wrapped
from fietsupdate.cli.render.live import LiveListener
from fietsupdate.cli.render.output import Output
from fietsupdate.commands.init import Initialised
from fietsupdate.errors import FietsupdateError, PlanError
from fietsupdate.model import Adoption, Direction, Event, Phase, Plan, Problem, Step, UpdateState
from fietsupdate.planning.graph import build
from support.fake_updater import ENTRY, FIRST, GRAPH, NOTHING, OUTDATED, PLAN, SECOND, TRACKS, make_update

# -- layout


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, "0.0 s"),
        (1234, "1.2 s"),
        (9949, "9.9 s"),
        (9950, "10 s"),
        (59_400, "59 s"),
        (59_600, "1 min 0 s"),
        (200_000, "3 min 20 s"),
        (3_599_600, "1 h 0 min"),
        (7_500_000, "2 h 5 min"),
    ],
)
def test_a_duration_reads_as_people_say_it(milliseconds, text):
    assert duration(milliseconds) == text


def test_a_command_on_a_line_of_its_own_is_never_broken():
    command = "  runuser -u fiets -- fietsupdate -c /srv/fiets/production.ini update"
    assert wrapped(f"Type as the owner of the data directory:\n{command}", 30) == [
        "Type as the owner of the data",
        "directory:",
        command,
    ]


@given(st.text(st.characters(codec="ascii", categories=["L", "N"]) | st.just(" "), max_size=300), st.integers(20, 120))
def test_wrapping_loses_no_word(text, width):
    assert " ".join(wrapped(text.strip(), width)).split() == text.split()


def test_labels_stand_in_one_column_and_empty_texts_are_left_out():
    rows = [("State", "okay"), ("Unknown", ""), ("Data", "one two three four five six")]
    assert labelled(rows, 27) == ["State  okay", "Data   one two three four", "       five six"]


def test_a_line_hangs_under_its_own_indent():
    assert hanging("      tell a long story", 20, "  ") == ["      tell a long", "      story"]
    assert hanging("[1/2] Applying a long story", 20, "      ") == ["[1/2] Applying a", "      long story"]


def test_a_table_has_columns():
    assert table(("a", "bb"), [("1", "x"), ("100", "")]) == ["a    bb", "1    x", "100"]


# -- status and check


@pytest.mark.parametrize(
    ("current", "heads", "shown"),
    [
        ((), ("bbb222",), "database at no revision; the newest is bbb222"),
        (("aaa111",), (), "database at aaa111; there are none here"),
        ((), (), "no revisions"),
    ],
)
def test_status_says_where_alembic_has_nothing(current, heads, shown):
    assert f"\nAlembic   {shown}\n" in console.status(
        replace(OUTDATED, alembic_current=current, alembic_heads=heads), 80
    )


def test_status_answers_where_what_and_what_next():
    assert console.status(OUTDATED, 80).splitlines() == [
        "State     outdated - waiting for updates",
        "Current   v0.1.0",
        "Heads     v0.2.0",
        "Alembic   database at aaa111; the newest is bbb222",
        "Database  postgresql://fiets:***@db/fiets",
        "Data      /srv/app/data",
        "",
        "Waiting, in this order (2 updates):",
        "  1. 30ppwg8zi4ujb46f  Move tracks out of the database",
        "  2. v0.2.0            Second release",
        "",
        "Next  Type `fietsupdate update`.",
    ]


def test_status_fits_a_narrow_terminal():
    text = console.status(replace(OUTDATED, pending=(replace(TRACKS, summary="Move all of the tracks " * 5),)), 60)
    assert max(map(len, text.splitlines())) <= 60


def test_status_says_of_each_waiting_update_why_it_is_not_atomic():
    pending = (replace(TRACKS, atomic=False), SECOND)
    on_mariadb = replace(OUTDATED, pending=pending, not_transactional="MariaDB commits every schema change")
    lines = console.status(on_mariadb, 80).splitlines()
    assert "      not atomic: the script does not say `atomic = True`" in lines
    assert "      not atomic: MariaDB commits every schema change" in lines


def test_problems_are_shown_with_their_way_out_and_replace_the_usual_advice():
    problem = Problem("half_older", "The data directory is older.", "Restore the newer one:\n  cp -a /backup /srv")
    lines = console.status(replace(OUTDATED, state=UpdateState.DRIFTED, problems=(problem,)), 80).splitlines()
    assert lines[-3:] == [
        "Problem  The data directory is older. [half_older]",
        "Next     Restore the newer one:",
        "           cp -a /backup /srv",
    ]


def test_a_problem_that_blocks_nothing_is_a_note():
    note = Problem("alembic_ahead", "The database is ahead.", blocks=False)
    assert "Note  The database is ahead. [alembic_ahead]" in console.status(replace(OUTDATED, problems=(note,)), 80)


def test_unknown_updates_are_named():
    assert "Unknown   v9 (applied, but there is no such script)" in console.status(
        replace(OUTDATED, unknown=("v9",)), 80
    )


def test_a_very_long_list_of_waiting_updates_is_cut_and_says_so():
    many = tuple(make_update(f"u{number}") for number in range(300))
    lines = console.status(replace(OUTDATED, pending=many), 80).splitlines()
    assert "Waiting, in this order (300 updates):" in lines
    assert "   ... and 280 more; `fietsupdate update --dry-run` shows all" in lines
    assert len(lines) < 40


@pytest.mark.parametrize("state", list(UpdateState))
def test_every_state_has_a_meaning(state):
    assert console.MEANINGS[state] in console.status(replace(OUTDATED, state=state), 200)


def test_check_names_the_first_problem():
    problems = (Problem("x", "The two halves\ndiverged."), Problem("y", "Something else."))
    answer = replace(OUTDATED, state=UpdateState.DRIFTED, problems=problems)
    assert console.check(answer) == "drifted: The two halves diverged."


def test_check_of_a_good_instance_says_so():
    assert console.check(replace(OUTDATED, state=UpdateState.OKAY, pending=())) == "okay: up to date"


# -- plans


def test_a_plan_is_told_step_by_step():
    assert console.plan(PLAN, 80).splitlines() == [
        "2 updates will be applied:",
        "",
        "  1. apply 30ppwg8zi4ujb46f  Move tracks out of the database",
        "      atomic; Alembic: bbb222",
        "  2. apply v0.2.0  Second release",
        "      atomic; no Alembic revision",
        "",
        "From  v0.1.0",
        "To    v0.2.0",
    ]


def test_a_plan_says_what_is_not_atomic_and_what_is_resumed():
    step = Step(TRACKS, Direction.UP, ("bbb222",), "MariaDB commits every schema change", (Phase.PRE, Phase.ALEMBIC))
    lines = console.plan(replace(PLAN, steps=(step,)), 100).splitlines()
    assert lines[0] == "1 update will be applied:"
    assert lines[3:6] == [
        "      Alembic: bbb222",
        "      NOT atomic here: MariaDB commits every schema change",
        "      resumed: pre, alembic finished in an earlier run and will not run again",
    ]


def test_a_plan_that_reverts_says_so():
    steps = (Step(SECOND, Direction.DOWN, ()),)
    text = console.plan(Plan(Direction.DOWN, (), steps, current=("v0.2.0",), result=()), 80)
    assert text.startswith("1 update will be reverted:\n\n  1. revert v0.2.0  Second release\n")
    assert text.endswith("To    base (no update)")


@pytest.mark.parametrize(
    ("adoption", "sentence"),
    [
        (
            Adoption(("v0.1.0",), reason="VERSION names it"),
            "First the instance is recorded to be at v0.1.0, without running scripts: VERSION names it",
        ),
        (
            Adoption(("v0.1.0",), ("aaa111",)),
            "First Alembic runs aaa111, and the instance is recorded to be at v0.1.0, without running scripts.",
        ),
    ],
)
def test_an_adoption_comes_first(adoption, sentence):
    lines = console.plan(replace(PLAN, adoption=adoption), 120).splitlines()
    assert lines[:3] == [sentence, "", "2 updates will be applied:"]
    assert console.plan(replace(PLAN, adoption=adoption, steps=()), 120).splitlines()[0] == sentence


def test_an_empty_plan_is_nothing_to_do():
    assert console.plan(NOTHING, 80) == "Nothing to do: the instance is at v0.2.0."


def test_a_report_counts_and_names_the_place():
    assert console.report(("a", "b"), Direction.DOWN, (), 1000) == (
        "2 updates reverted in 1.0 s. Current: base (no update)."
    )
    assert console.report(("a",), Direction.STAMP, ("a",), 1000) == "Recorded. Current: a."


# -- history, heads, show, init


def test_history_is_a_table():
    assert console.history([ENTRY], 110).splitlines() == [
        "seq  finished (UTC)       what  update  took   by          app version",
        "1    2026-11-21 20:00:37  up    v0.1.0  1.2 s  fiets@web1  1.0",
    ]


def test_history_on_a_narrow_terminal_takes_two_lines_an_entry():
    text = console.history([ENTRY, replace(ENTRY, seq=2, direction=Direction.STAMP, app_version="")], 60)
    assert text.splitlines() == [
        "seq  finished (UTC)       what   update",
        "1    2026-11-21 20:00:37  up     v0.1.0",
        "     took 1.2 s, by fiets@web1, app 1.0",
        "2    2026-11-21 20:00:37  stamp  v0.1.0",
        "     took -, by fiets@web1",
    ]


def test_an_empty_history_is_explained():
    assert console.history([], 80) == "The ledger is empty: no update has run on this instance."


def test_heads_name_their_folders_where_there_are_several():
    other = make_update("plugin-1", summary="Another graph", folder="plugin:updates")
    assert console.heads([SECOND], 80) == "v0.2.0  Second release"
    assert console.heads([SECOND, other], 80).splitlines() == [
        "v0.2.0    Second release  [updates]",
        "plugin-1  Another graph  [plugin:updates]",
    ]
    assert console.heads([], 80) == "There are no updates."


def test_show_describes_an_update_and_its_entries():
    text = console.show(FIRST, [ENTRY], 110, applied=True)
    assert "Applied   yes" in text
    assert "Previous  none: it begins a graph" in text
    assert text.endswith(console.history([ENTRY], 110))


def test_init_says_what_was_written_or_that_nothing_was():
    assert console.initialised(Initialised(Path("a.ini"), "fietsupdate")) == (
        "Nothing to do: a.ini has a section [fietsupdate] already."
    )
    written = Initialised(Path("a.ini"), "fietsupdate", Path("updates"), Path("updates/upd_x.py"))
    assert "Wrote the baseline script updates/upd_x.py." in console.initialised(written).splitlines()


# -- diagrams


def graph_of(**parents):
    return build([make_update(name, *before.split()) for name, before in parents.items()], ["updates"])


def test_a_line_of_updates_is_a_line():
    graph = graph_of(a="", b="a", c="b")
    text = diagram.text(Drawing(graph, frozenset("a"), ("b",)), 80)
    assert text.splitlines()[:3] == ["○  c", "○  b (current)", "●  a"]
    assert text.splitlines()[-1] == "● applied  ○ pending"


def test_a_diamond_parts_and_joins():
    graph = graph_of(a="", b="a", c="a", d="b c")
    assert diagram.text(Drawing(graph), 80).splitlines() == [
        "○  d",
        "├─╮",
        "│ ○  c",
        "○ │  b",
        "├─╯",
        "○  a",
    ]


def test_two_graphs_stand_beside_each_other():
    graph = graph_of(a="", b="", c="a", d="b")
    assert diagram.text(Drawing(graph), 80).splitlines() == ["○  d", "│ ○  c", "○ │  b", "  ○  a"]


def test_a_drawing_without_line_characters():
    graph = graph_of(a="", b="a", c="a", d="b c")
    text = diagram.text(Drawing(graph, frozenset("ab"), (), ("x",)), 80, lines=False)
    assert text.splitlines() == [
        "? x  (applied; no script is known)",
        "o  d",
        "+-.",
        "| o  c",
        "* |  b",
        "+-'",
        "*  a",
        "",
        "* applied  o pending",
    ]
    assert text.isascii()


@st.composite
def graphs(draw):
    number = draw(st.integers(1, 14))
    parents = {
        f"n{one}": " ".join(f"n{before}" for before in draw(st.sets(st.integers(0, one - 1), max_size=4)))
        if one
        else ""
        for one in range(number)
    }
    return graph_of(**parents)


@given(graphs())
def test_every_update_is_drawn_once_above_what_it_comes_after(graph):
    rows = diagram.text(Drawing(graph), 200).splitlines()
    place = {row.split()[-1]: number for number, row in enumerate(rows) if "○" in row}
    assert place.keys() == graph.updates.keys()
    assert all(place[one] < place[before] for one in place for before in graph.updates[one].previous)


JOINS = {"up": "│├┤┼┴╯╰", "down": "│├┤┼┬╮╭", "left": "─┤┼┬┴╮╯", "right": "─├┼┬┴╭╰"}


@given(graphs())
def test_no_line_of_a_drawing_ends_in_the_air(graph):
    """Whatever points somewhere meets an update, or a sign that points back."""
    rows = [row.rsplit("  ", 1)[0] if "○" in row else row for row in diagram.text(Drawing(graph), 200).splitlines()]
    grid = {(y, x): char for y, row in enumerate(rows) for x, char in enumerate(row) if char != " "}
    for (y, x), char in grid.items():
        for name, back, dy, dx in (
            ("up", "down", -1, 0),
            ("down", "up", 1, 0),
            ("left", "right", 0, -1),
            ("right", "left", 0, 1),
        ):
            if char in JOINS[name]:
                assert grid.get((y + dy, x + dx), " ") in JOINS[back] + "○"


def test_a_long_summary_is_cut_and_an_id_never():
    long = build([make_update("a" * 30, summary="word " * 30)], ["updates"])
    line = diagram.text(Drawing(long), 60)
    assert len(line) <= 60
    assert line.endswith("...")
    assert diagram.text(Drawing(long), 30) == f"○  {'a' * 30}"


def test_an_empty_graph_is_said_to_be_one():
    assert diagram.text(Drawing(build([], ["updates"])), 80) == "There are no updates."


def test_mermaid_has_a_node_for_each_update_and_an_arrow_for_each_previous():
    drawing = Drawing(GRAPH, frozenset(["v0.1.0"]), ("v0.1.0",), ("v9",))
    assert diagram.mermaid(drawing).splitlines()[:7] == [
        "flowchart TD",
        '    u1["v0.1.0<br/>First release"]:::applied',
        '    u2["30ppwg8zi4ujb46f<br/>Move tracks out of the database"]:::pending',
        '    u3["v0.2.0<br/>Second release"]:::pending',
        '    x1["v9"]:::unknown',
        "    u1 --> u2",
        "    u2 --> u3",
    ]


def test_mermaid_signs_in_a_summary_do_no_harm():
    odd = build([make_update("end", summary='a "quoted" <b>#1</b> `x` & y')], ["updates"])
    assert diagram.mermaid(Drawing(odd)).splitlines()[1] == (
        '    u1["end<br/>a #quot;quoted#quot; &lt;b&gt;#35;1&lt;/b&gt; #96;x#96; &amp; y"]:::unseen'
    )


def test_mermaid_frames_folders_where_there_are_several():
    updates = [make_update("a"), make_update("b", "a", folder="plugin:updates")]
    lines = diagram.mermaid(Drawing(build(updates, ["updates", "plugin:updates"]))).splitlines()
    assert lines[1:8] == [
        '    subgraph f1["updates"]',
        '        u1["a"]:::unseen',
        "    end",
        '    subgraph f2["plugin:updates"]',
        '        u2["b"]:::unseen',
        "    end",
        "    u1 --> u2",
    ]


# -- documents


def test_documents_are_ascii_whatever_stands_in_them():
    text = documents.document(documents.heads([make_update("a", summary="Größe \udc80")]))
    assert text.isascii()
    assert json.loads(text)["heads"][0]["summary"] == "Größe \udc80"


def test_the_details_of_an_event_stand_beside_its_fields_and_never_replace_them():
    event = Event("progress", "T", update_id="a", text="tracks", details={"done": 1, "total": 2, "event": "x"})
    assert documents.event(event) == {
        "event": "progress",
        "time": "T",
        "update_id": "a",
        "text": "tracks",
        "done": 1,
        "total": 2,
    }


# -- events


class Screen:
    """An output that remembers."""

    def __init__(self, *, is_terminal=False, width=80):
        self.text = ""
        self.is_terminal, self.moves, self.draws, self.colored = is_terminal, is_terminal, True, False
        self.width, self.encoding = width, "utf-8"

    def write(self, text):
        self.text += text

    draw = write

    def line(self, text=""):
        self.write(f"{text}\n")

    show = line

    def flush(self):
        pass

    def isatty(self):
        return self.is_terminal


def told(events, *, verbose=False):
    screen = Screen()
    tell = LineListener(screen, verbose=verbose, clock=lambda: 0.0)
    for event in events:
        tell(event)
    return screen.text.splitlines()


RUN = (
    Event("plan", "T", details={"steps": ["a", "b"]}),
    Event("update_begun", "T", update_id="a", direction="up", text="The first"),
    Event("phase_begun", "T", update_id="a", phase="pre"),
    Event("tell", "T", update_id="a", text="one\ntwo"),
    Event("phase_finished", "T", update_id="a", phase="pre"),
    Event("revision", "T", update_id="a", details={"revision": "aaa111"}),
    Event("update_finished", "T", update_id="a", details={"duration_ms": 1234}),
    Event("update_begun", "T", update_id="b", direction="down"),
    Event("warning", "T", text="Something is odd."),
    Event("update_undone", "T", update_id="b"),
)


def test_a_run_is_told_in_lines():
    assert told(RUN) == [
        "[1/2] Applying a  The first",
        "      one",
        "      two",
        "      done in 1.2 s",
        "[2/2] Reverting b",
        "Warning: Something is odd.",
        "      rolled back in the database, undone in the files",
    ]


def test_a_verbose_run_names_phases_and_revisions():
    lines = told(RUN, verbose=True)
    assert lines[1] == "      phase pre"
    assert lines[4] == "      Alembic revision aaa111"


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (
            Event(
                "waiting",
                "T",
                text="for another updater",
                details={"pid": 7, "host": "web1", "since": "2026-11-21T20:00:37.123Z"},
            ),
            "Waiting for another updater: process 7 on web1, at work since 2026-11-21 20:00:37 UTC.",
        ),
        (Event("waiting", "T", text="for the database's lock"), "Waiting for the database's lock."),
        (
            Event("adopted", "T", text="VERSION names it", details={"update_ids": ["a", "b"]}),
            "Recorded that the instance is at a, b: VERSION names it",
        ),
        (
            Event("recovered", "T", update_id="a", text="undone"),
            "An earlier run of a was interrupted: it is not in the database, and its journal of files was played back.",
        ),
    ],
)
def test_what_happens_around_the_updates_is_told(event, line):
    assert told([event]) == [line]


def test_files_that_were_set_aside_are_named():
    event = Event("recovered", "T", update_id="a", text="done", details={"found": ["found/1/x"]})
    assert told([event]) == [
        "An earlier run of a was interrupted: it was complete, and is now tidied up.",
        "set aside: found/1/x",
    ]


def test_progress_is_told_only_now_and_then_where_there_is_no_terminal():
    screen, now = Screen(), [0.0]
    tell = LineListener(screen, clock=lambda: now[0])
    tell(RUN[1])
    for second in range(21):
        now[0] = float(second)
        tell(Event("progress", "T", text="tracks", details={"done": second, "total": 100}))
    lines = screen.text.splitlines()[1:]
    assert lines == [f"      {second} of 100 tracks" for second in range(int(INTERVAL), 21, int(INTERVAL))]
    now[0] += INTERVAL
    dumped = {"done": 2_000_000, "total": None, "unit": "bytes", "rate": 200_000, "left": 0.0}
    tell(Event("progress", "T", text="dumped", details=dumped))
    assert screen.text.splitlines()[-1] == "      dumped: 2.0 MB so far, 200 kB/s"


def test_on_a_terminal_one_line_moves_and_the_others_stay():
    screen = Screen(is_terminal=True, width=100)
    with listener(screen, as_json=False, quiet=False, verbose=False) as tell:
        assert isinstance(tell, LiveListener)
        for event in RUN[:4]:
            tell(event)
        tell(Event("progress", "T", update_id="a", text="tracks [red]", details={"done": 340, "total": 1000}))
        tell.view.refresh()
    assert tell.failure is None
    assert "34 %, 340 of 1000 tracks [red]" in screen.text
    assert "      one" in screen.text
    assert screen.text.endswith("\x1b[2K")  # the moving line is gone


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"as_json": True, "quiet": True, "verbose": False}, JsonListener),
        ({"as_json": False, "quiet": True, "verbose": False}, EventPrinter),
        ({"as_json": False, "quiet": False, "verbose": True}, LineListener),
    ],
)
def test_the_listener_fits_the_options(options, kind):
    assert type(listener(Screen(), **options)) is kind


def test_a_listener_that_breaks_stops_nothing():
    tell = LineListener(Screen())
    tell.out = None
    tell(RUN[1])
    tell(Event("finished", "T"))
    assert isinstance(tell.failure, AttributeError)
    assert tell.finished


def test_an_event_that_nobody_knows_is_told_by_no_line():
    assert Narrator().lines(Event("brand_new", "T")) == []


# -- failures


def test_an_error_has_three_labelled_parts():
    error = PlanError("There is no way.", stands="Nothing was changed.", hint="fietsupdate status")
    assert errors.text(error, 80) == (
        "Error:  There is no way.\nNow:    Nothing was changed.\nNext:   fietsupdate status"
    )


def test_a_bug_of_ours_is_called_one():
    with pytest.raises(AttributeError) as caught:
        fietsupdate.cli.render.layout.wrapped(None, 80)
    error = errors.unexpected(caught.value)
    assert isinstance(error, FietsupdateError)
    assert error.message.endswith("this is a bug in fietsupdate")
    assert error.exit_code == 1


def test_an_exception_of_others_names_the_line_it_comes_from():
    with pytest.raises(ZeroDivisionError) as caught:
        _ = 1 // int("0")
    assert f"it was raised in {__file__}, line " in errors.unexpected(caught.value).message


# -- output


def test_a_full_disk_silences_an_output_and_raises_nothing():
    output = Output(1, {})
    output.stream.close()
    output.stream = io.open("/dev/full", "w", encoding="utf-8")  # noqa: SIM115, UP020
    output.line("text")
    output.line("more")
    assert isinstance(output.failure, OSError)
    output.close()


@pytest.mark.parametrize("environ", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {}])
def test_nothing_is_colored_without_a_terminal_or_when_it_is_not_wanted(environ, capfd):
    output = Output(1, environ)
    assert not output.colored
    output.close()


def test_a_long_ladder_stays_narrow():
    """Each update comes after the two before it: the lanes on the left are used again."""
    ladder = [make_update(f"u{n}", *(f"u{m}" for m in (n - 1, n - 2) if m >= 0)) for n in range(300)]
    drawn = diagram.text(diagram.Drawing(build(ladder, ["updates"])), 80)
    assert len(drawn.splitlines()[0]) < 10
    assert max(map(len, drawn.splitlines())) <= len("│ │ │  u299")


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_graphviz_reads_the_graph_whatever_the_summaries_say():
    odd = make_update("one", summary='"]; evil [label="\\n\\\\" <b>')
    drawing = Drawing(build([odd, make_update("two", "one", folder="b:c")], ["updates", "b:c"]), frozenset(["one"]))
    done = subprocess.run(["dot", "-Tplain"], input=dot.dot(drawing), capture_output=True, text=True, check=True)
    assert sorted(line.split()[1] for line in done.stdout.splitlines() if line.startswith("node")) == ["one", "two"]


def test_dot_has_a_node_for_each_update_and_an_arrow_for_each_previous():
    drawing = Drawing(GRAPH, frozenset([FIRST.update_id]), (FIRST.update_id,))
    lines = dot.dot(drawing).splitlines()
    assert lines[0] == "digraph updates {"
    assert (
        '    "v0.1.0" [label="v0.1.0 (current)\\nFirst release" style=filled fillcolor="#cfe8cf" color="#2e7d32"];'
        in lines
    )
    assert '    "v0.1.0" -> "30ppwg8zi4ujb46f";' in lines
