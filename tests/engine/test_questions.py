"""What update scripts ask: known to the plan, answered before anything starts, kept in both halves, asked once."""

from __future__ import annotations

import json
import os
import pty
import select
import sys
import time
from pathlib import Path

import pytest

from fietsupdate import Updater, UpdateScript, ensure_current
from fietsupdate.cli.options import answers_of
from fietsupdate.cli.render import documents
from fietsupdate.cli.render import text as console
from fietsupdate.errors import ChecksFailedError, FietsupdateError, UnansweredError, UpdateFailedError, UsageError
from fietsupdate.model import Entry
from fietsupdate.model.questions import Answer, Question, Source, derived_name
from fietsupdate.planning.loader import FaultsError
from fietsupdate.planning.metadata import read_script
from support import versions
from support.databases import KINDS, SQLITE
from support.notes import notes

LANGUAGE = 'self.ask("Which language do old titles have?", default="en", choices=["en", "de"], name="language")'
NEEDED = 'self.ask("Who is the curator?", name="curator")'
WRITES = "self.files.write('{0}', {1})"


@pytest.fixture(autouse=True)
def _nothing_answered(monkeypatch):
    for name in [name for name in os.environ if name.startswith("FIETSUPDATE_")]:
        monkeypatch.delenv(name)


def asking(project, hook="up_pre", asks=LANGUAGE, **options):
    """Write one update that writes its answer to a file."""
    project.update("v1", (), None, **{hook: WRITES.format(f"{hook}.txt", asks)}, **options)
    return Updater.from_config(project.ini)


def read(text, **metadata):
    lines = [f"{name} = {value}" for name, value in metadata.items()]
    source = "\n".join(['update_id = "b"', "alembic_revision = None", *lines, text])
    return read_script(source.encode(), Path("b.py"), "updates")


UP = "class Up(UpdateScript):\n    def pre_alembic(self, config):\n        {}"


# -- what the planner finds


def test_a_question_is_read_from_the_script_without_running_it():
    update = read(UP.format(f"x = {LANGUAGE}"))
    (question,) = update.up_asks.questions
    expected = Question("language", "Which language do old titles have?", "en", ("en", "de"), 5)
    assert (question, update.down_asks.questions, update.may_ask_more) == (expected, (), False)


def test_a_question_without_a_name_gets_one_of_its_words():
    (question,) = read(UP.format('self.ask("Which language do old titles have? (ISO)")')).up_asks.questions
    assert question.name == derived_name(question.text) == "which_language_do_old_titles_have_iso"
    assert [derived_name(text) for text in ("?", "2 of 3?", "a" * 50)] == ["question", "question_2_of_3", "question"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("self.ask('Size?', default=5)", "text, name and default are text"),
        ("self.ask('Size?', default='xl', choices=['s', 'm'])", "'xl' is no answer to size: it must be one of s, m"),
        ("self.ask('Size?', name='Size')", "the name 'Size' is not allowed"),
        ("self.ask('Size?', secret=True)", "there is no argument secret"),
        ("self.ask('Size?', 's')", "the text is the one argument that needs no name"),
        ("self.ask()", "a question needs a text"),
        ("self.ask('Size?'); self.ask('Size?', default='s')", "size is asked in line 5 in another way"),
    ],
)
def test_a_question_that_cannot_be_asked_is_a_fault_with_file_and_line(call, message):
    with pytest.raises(FaultsError, match=r"b\.py:5: self\.ask: ") as caught:
        read(UP.format(call))
    assert message in str(caught.value)


def test_what_is_computed_is_told_by_its_line_or_declared_in_the_metadata():
    computed = UP.format("self.ask(f'Which {config}?', name='which')")
    assert read(computed).up_asks.unread == (5,)
    declared = read(computed, questions='[{"name": "which", "text": "Which one?", "choices": ["a", "b"]}]')
    assert [(one.name, one.text, one.choices) for one in declared.up_asks.questions] == [
        ("which", "Which one?", ("a", "b"))
    ]
    assert declared.up_asks.unread == ()
    with pytest.raises(FaultsError, match="there is no txet"):
        read(computed, questions='[{"name": "which", "txet": "Which one?"}]')
    both = read(computed, questions='[{"name": "which", "text": "?", "direction": "both"}]')
    assert len(both.up_asks.questions) == len(both.down_asks.questions) == 1


def test_questions_of_the_script_s_own_base_class_count_and_a_method_called_ask_is_no_question():
    base = "class Base(UpdateScript):\n    def lang(self):\n        return self.ask('Which?')\nclass Up(Base): ..."
    assert [one.name for one in read(base).up_asks.questions] == ["which"]
    own = "class Up(UpdateScript):\n    def ask(self, a, b): ...\n    def pre_alembic(self, c): self.ask(1, 2)"
    assert read(own).up_asks.questions == ()
    strange = "class Up(Theirs):\n    def pre_alembic(self, c): self.ask(1, 2)"
    assert (read(strange).up_asks.unread, read(strange).may_ask_more) == ((4,), True)


# -- who answers


def test_yes_takes_the_default(project):
    asking(project)
    told = project.run("update", "--yes").succeeded().stdout
    assert "Which language do old titles have? en (default)" in told
    assert (project.data / "up_pre.txt").read_text() == "en"


def test_without_a_default_the_plan_refuses_before_anything_starts(project):
    asking(project, asks=NEEDED)
    refused = project.run("update", "--dry-run").exited(1)
    assert "Update v1 asks, and no answer is given: Who is the curator? [curator]" in refused.told
    assert "Add --answer curator=VALUE to the command, or set FIETSUPDATE_ANSWER_CURATOR." in refused.told
    error = project.run("update", "--yes", "--json").exited(1).events[-1]["error"]
    assert (error["code"], [one["name"] for one in error["questions"]]) == ("unanswered", ["curator"])
    with pytest.raises(UnansweredError):
        Updater.from_config(project.ini).rehearse()
    assert list(project.data.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "variable", "expected"),
    [
        ({}, "", Answer("language", "en", Source.DEFAULT)),
        ({}, "de", Answer("language", "de", Source.ENVIRONMENT)),
        ({"language": "en"}, "de", Answer("language", "en", Source.GIVEN)),
        ({"language": "en", "v1:language": "de"}, "", Answer("language", "de", Source.GIVEN)),
    ],
)
def test_what_is_given_counts_more_than_the_environment_and_that_more_than_the_default(
    project, monkeypatch, given, variable, expected
):
    if variable:
        monkeypatch.setenv("FIETSUPDATE_ANSWER_LANGUAGE", variable)
    updater = asking(project)
    assert updater.plan(answers=given).steps[0].answers == (expected,)
    assert updater.update(answers=given).answers == {"v1": {"language": expected.value}}
    assert (project.data / "up_pre.txt").read_text() == expected.value


def test_questions_and_answers_stand_in_the_json_of_plan_and_run(project):
    asking(project)
    words, environment = ("--answer", "v1:language=de"), {"FIETSUPDATE_ANSWER_LANGUAGE": "en"}
    answer, source = "de", "given"
    plan = project.run("update", "--yes", "--dry-run", "--json", *words, env=environment).succeeded().json["plan"]
    assert plan["steps"][0]["answers"] == [{"name": "language", "value": answer, "source": source}]
    assert plan["steps"][0]["questions"][0]["choices"] == ["en", "de"]
    events = project.run("update", "--yes", "--json", *words, env=environment).succeeded().events
    (told,) = (event for event in events if event["event"] == "answered")
    assert (told["name"], told["value"], told["source"], told["update_id"]) == ("language", answer, source, "v1")
    assert events[-1]["answers"] == {"v1": {"language": answer}}
    assert (project.data / "up_pre.txt").read_text() == answer


@pytest.mark.parametrize(
    ("given", "variable", "message"),
    [
        ({"language": "fr"}, "", r"The answer language, for update v1, is 'fr'; it must be one of en, de\."),
        ({}, "fr", "FIETSUPDATE_ANSWER_LANGUAGE, for update v1, is 'fr'; it must be one of en, de"),
        ({"langauge": "de"}, "", r"asks a question that is called langauge; did you mean language\?"),
    ],
)
def test_a_wrong_answer_is_refused_before_the_start(project, monkeypatch, given, variable, message):
    if variable:
        monkeypatch.setenv("FIETSUPDATE_ANSWER_LANGUAGE", variable)
    updater = asking(project)
    for refused in (updater.plan, updater.update):
        with pytest.raises(UsageError, match=message) as caught:
            refused(answers=given)
        assert caught.value.stands == "Nothing was changed."
    assert list(project.data.iterdir()) == []


@pytest.mark.parametrize(
    ("pairs", "message"),
    [(["language"], "needs NAME=VALUE"), (["=x"], "needs NAME=VALUE"), (["a=b", "a=c"], "--answer a is given twice")],
)
def test_an_option_that_is_no_answer_is_refused(pairs, message):
    with pytest.raises(UsageError, match=message):
        answers_of(pairs)


@pytest.mark.parametrize("value", ["a\nb", "x" * 501, "a\x1b[31m"])
def test_an_answer_is_one_line_that_the_ledger_has_room_for(project, value):
    updater = asking(project, asks=NEEDED)
    with pytest.raises(UsageError, match="The answer curator, for update v1"):
        updater.update(answers={"curator": value})


def test_an_answer_to_an_update_that_is_applied_already_is_no_mistake(project):
    updater = asking(project)
    updater.update(answers={"language": "de"})
    assert updater.update(answers={"language": "en"}).done == ()


def test_a_variable_that_answers_nothing_is_told_where_a_default_is_taken(project, monkeypatch):
    updater = asking(project)
    monkeypatch.setenv("FIETSUPDATE_ANSWER_LANGAUGE", "de")
    (warning,) = updater.update().warnings
    assert warning == "FIETSUPDATE_ANSWER_LANGAUGE answers no question of this plan, which takes defaults."


def test_one_name_is_asked_once_in_an_update(project):
    twice = "first = {0}\nsecond = {0}\nself.files.write('twice', first + second)"
    project.update("v1", (), None, up_pre=twice.format(LANGUAGE), up_post=WRITES.format("post", LANGUAGE))
    report = Updater.from_config(project.ini).update(answers={"language": "de"})
    assert report.answers == {"v1": {"language": "de"}}
    assert ((project.data / "twice").read_text(), (project.data / "post").read_text()) == ("dede", "de")


def test_an_object_that_nothing_runs_answers_by_defaults():
    script = UpdateScript()
    assert (script.ask("Which?", default="a"), script.unattended) == ("a", True)
    with pytest.raises(UpdateFailedError, match="the question cannot be asked"):
        script.ask("Which?")


# -- where answers are kept


@pytest.mark.parametrize("kind", KINDS)
def test_answers_stand_in_both_halves_and_survive_a_backup(make_project, kind, make_database):
    project = make_project(kind=kind)
    updater = asking(project, asks=NEEDED)
    updater.update(answers={"curator": 'Zoë "C:\\" O\'Neil, 50 %'})
    (line,) = (project.data / ".fietsupdate" / "ledger.jsonl").read_text().splitlines()
    kept = {"curator": 'Zoë "C:\\" O\'Neil, 50 %'}
    assert json.loads(line)["answers"] == kept
    (row,) = project.database.execute("SELECT answers FROM fietsupdate_ledger")
    assert json.loads(row[0]) == kept
    assert updater.status().state == "okay"
    update, _, entries = updater.show("v1")
    assert documents.history(entries, None)["entries"][0]["answers"] == kept
    shown = console.show(update, entries, 200, applied=True)
    assert "curator: Who is the curator? (any text)" in shown
    assert 'curator: Zoë "C' in shown
    backup = updater.backup()
    assert not updater.verify_backup(backup.name).wrong
    updater.restore(backup.name)
    assert updater.history()[0].answers == tuple(kept.items())
    assert updater.status().state == "okay"


def test_an_entry_without_answers_is_written_as_before():
    text = (
        '{"actor":"me","app_version":"","checksum":"ab","direction":"up","duration_ms":1,"finished_at":"now","seq":1,'
        '"tool_version":"0.1.0","txn":"t","update_id":"v1"}'
    )
    assert Entry.from_json(text).to_json() == text
    with pytest.raises(ValueError, match="are no answers"):
        Entry.from_json(text.replace('"actor"', '"answers":{"a":1},"actor"'))


@pytest.mark.parametrize("kind", KINDS)
def test_a_ledger_of_an_earlier_version_gets_its_column_when_something_is_asked(make_project, kind):
    project = notes(make_project(kind=kind), 1)
    updater = Updater.from_config(project.ini)
    updater.update()
    project.database.execute("ALTER TABLE fietsupdate_ledger DROP COLUMN answers")
    project.update("v2", "v1", "r2")
    assert updater.update().done == ("v2",)
    assert "answers" not in columns(project), "nothing was asked"
    backup = updater.backup()
    project.update("v3", "v2", "r3", up_pre=LANGUAGE)
    assert updater.update().done == ("v3",)
    assert "answers" in columns(project)
    assert [entry.answers for entry in updater.history()] == [(), (), (("language", "en"),)]
    if kind == SQLITE:
        updater.restore(backup.name)
        assert updater.status().current == ("v2",)


def columns(project):
    import sqlalchemy as sa

    with project.database.connect() as connection:
        return [column["name"] for column in sa.inspect(connection).get_columns("fietsupdate_ledger")]


# -- questions that no plan could know

COMPUTED = 'self.ask("Which " + str(len("abc")) + "?", default={0}, name="which")'


def test_what_the_plan_could_not_read_is_told_there_and_gets_its_default_with_a_warning(project):
    updater = asking(project, asks=COMPUTED.format("'x'"))
    dry = project.run("update", "--dry-run").succeeded().stdout
    assert "asks what cannot be read before it runs (upd_v1.py:" in " ".join(dry.split())
    report = updater.update()
    assert report.warnings == ("which was not in the plan, and was answered by its default, 'x'.",)
    assert report.answers == {"v1": {"which": "x"}}
    assert updater.history()[0].answers == (("which", "x"),)


def test_without_an_answer_it_fails_is_undone_and_says_what_to_type(project):
    project.update("v1", (), None, up_pre=f"self.files.write('a', b'')\n{COMPUTED.format(None)}")
    updater = Updater.from_config(project.ini)
    with pytest.raises(UpdateFailedError, match=r"it asks a question without an answer: Which 3\? \[which\]") as caught:
        updater.update()
    assert caught.value.hint == "Add --answer which=VALUE to the command, or set FIETSUPDATE_ANSWER_WHICH."
    assert caught.value.stands.startswith("Nothing of v1 stands")
    assert not (project.data / "a").exists()
    assert updater.update(answers={"which": "y"}).answers == {"v1": {"which": "y"}}


def test_a_check_may_ask_too_and_fails_before_anything_where_nobody_answers(project):
    project.update("v1", (), None, up_more=f"def check(self, config):\n    self.tell({COMPUTED.format(None)})")
    updater = Updater.from_config(project.ini)
    with pytest.raises(ChecksFailedError, match="it asks a question without an answer"):
        updater.update()
    told = []
    updater.update(answers={"which": "y"}, on_event=lambda event: told.append((event.event, event.text)))
    assert ("tell", "y") in told


# -- resumed


UNREAD = 'self.ask("Which" + "?", default="en", choices=["en", "de"], name="language")'
GO = "if not Path(config['fietsupdate.data_dir'], 'go').exists(): {0}"


@pytest.mark.parametrize(
    ("kind", "asks"), [*((kind, LANGUAGE) for kind in KINDS), (SQLITE, UNREAD)], ids=[*KINDS, "unread"]
)
def test_a_resumed_run_repeats_the_answer_and_takes_no_other(make_project, kind, asks):
    project = notes(make_project(kind=kind), 0)
    body = project.trace("{0}").replace("'{0}", "'' + {0} + '").format(asks)
    project.update("v1", (), "r1", atomic=None, up_pre=body, up_post=f"{body}\n{GO.format('1 / 0')}")
    updater = Updater.from_config(project.ini)
    with pytest.raises(UpdateFailedError):
        updater.update(answers={"language": "de"})
    assert updater.status().state == "interrupted"
    (project.data / "go").touch()
    report = updater.update(answers={"language": "en"})
    assert project.traces() == ["de", "de", "de"]
    assert updater.history()[-1].answers == (("language", "de"),)
    if asks == LANGUAGE:
        assert "language stays de, not en: v1 was begun with that answer." in report.warnings
        assert report.plan.steps[0].answers == (Answer("language", "de", Source.LEDGER),)


@pytest.mark.parametrize("asks", [NEEDED, 'self.ask("Who" + "?", name="curator")'])
def test_what_was_killed_and_is_done_again_is_not_asked_again(project, asks):
    """Its hooks have database connections of their own: nobody knows what they have committed with that answer."""
    kill = GO.format("os.kill(os.getpid(), signal.SIGKILL)")
    pre, post = (WRITES.format(name, asks) for name in ("who", "who2"))
    project.update("v1", (), None, atomic=None, head="import os, signal", up_pre=pre, up_post=f"{post}\n{kill}")
    project.run("update", "--yes", "--answer", "curator=Ann").exited(-9)
    (project.data / "go").touch()
    if asks == NEEDED:
        shown = " ".join(project.run("update", "--dry-run").succeeded().stdout.split())
        assert "asks curator: Who is the curator? Ann (as when it began)" in shown
    assert Updater.from_config(project.ini).update(answers={"curator": "Bob"}).answers == {"v1": {"curator": "Ann"}}
    assert {(project.data / name).read_text() for name in ("who", "who2")} == {"Ann"}


def test_a_damaged_note_of_an_answer_keeps_nobody_from_recovering(project):
    kill = "os.kill(os.getpid(), signal.SIGKILL)"
    asks = 'self.ask("Who" + "?", name="curator")'
    project.update("v1", (), None, atomic=None, head="import os, signal", up_pre=f"{asks}\n{GO.format(kill)}")
    project.run("update", "--yes", "--answer", "curator=Ann").exited(-9)
    (note,) = (project.data / ".fietsupdate" / "txn").glob("*/answers")
    assert json.loads(note.read_text()) == {"curator": "Ann"}
    note.write_bytes(b"\xff{")
    (project.data / "go").touch()
    assert Updater.from_config(project.ini).update(answers={"curator": "Bob"}).answers == {"v1": {"curator": "Bob"}}


def test_what_was_finished_by_hand_is_recorded_with_its_answers(project):
    notes(project, 0)
    asks = 'self.ask("Which" + "?", name="which")'
    project.update("v1", (), "r1", atomic=None, up_pre=NEEDED, up_post=f"{asks}; 1 / 0")
    updater = Updater.from_config(project.ini)
    with pytest.raises(UpdateFailedError):
        updater.update(answers={"curator": "Ann", "which": "x"})
    updater.recover(accept=True)
    assert updater.history()[-1].answers == (("curator", "Ann"), ("which", "x"))


# -- every way to run


def test_a_downgrade_asks_what_its_down_asks(project):
    updater = asking(project, "down_pre", asks=NEEDED)
    updater.update()
    with pytest.raises(UnansweredError):
        updater.downgrade("base")
    with pytest.raises(UnansweredError):
        updater.rehearse(round_trip=True) or updater.downgrade("base")
    assert updater.downgrade("base", answers={"curator": "Ann"}).answers == {"v1": {"curator": "Ann"}}
    assert (project.data / "down_pre.txt").read_text() == "Ann"


def test_a_rehearsal_is_given_the_same_answers_and_records_none(project):
    down = 'self.files.remove(self.ask("Which file?"))'
    project.update("v1", (), None, up_pre=WRITES.format("who", NEEDED), down_pre=down)
    updater = Updater.from_config(project.ini)
    with pytest.raises(UnansweredError, match=r"Which file\?"):
        updater.rehearse(round_trip=True, answers={"curator": "Ann"})
    answers = {"curator": "Ann", "which_file": "who"}
    rehearsal = updater.rehearse(round_trip=True, answers=answers)
    assert rehearsal.failure is None, rehearsal.failure
    assert [change.path for change in rehearsal.files.changes] == ["who"]
    assert updater.history() == ()
    assert not (project.data / "who").exists()
    told = project.run("rehearse", "--answer", "curator=Ann").succeeded()
    assert "Who is the curator? Ann" in told.stdout


def test_an_application_that_starts_is_answered_by_the_environment(project, monkeypatch):
    asking(project, asks=NEEDED)
    with pytest.raises(FietsupdateError, match="no answer is given"):
        ensure_current(project.ini)
    monkeypatch.setenv("FIETSUPDATE_ANSWER_CURATOR", "Ann")
    assert ensure_current(project.ini).answers == {"v1": {"curator": "Ann"}}


def test_a_version_hook_may_ask_too_though_no_plan_knows_it(project):
    section = "distribution = lessons\nversion_hooks = asking_hooks\n"
    project.ini.write_text(project.ini.read_text() + section)
    hook = "@version_upgrade(old='<1.0')\ndef ask(script, config):\n    script.files.write('who', script.ask('Who?'))\n"
    (project.root / "asking_hooks.py").write_text(f"{versions.HEAD}\n{hook}")
    versions.install(project, "0.1")
    project.update("v1", (), None)
    project.run("update", "--yes").succeeded()
    versions.install(project, "1.0")
    refused = project.run("update", "--yes").exited(1)
    assert "it asks a question without an answer: Who? [who]" in refused.told
    assert "Add --answer who=VALUE to the command" in refused.told
    project.database.execute("ALTER TABLE fietsupdate_ledger DROP COLUMN answers")
    project.run("update", "--yes", "--answer", "who=Ann").succeeded()
    assert (project.data / "who").read_text() == "Ann"
    assert project.run("history", "--json").succeeded().json["entries"][-2]["answers"] == {"who": "Ann"}


def test_a_script_knows_whether_somebody_is_there(project):
    updater = asking(project, asks="str(self.unattended)")
    updater.update(unattended=False)
    assert (project.data / "up_pre.txt").read_text() == "False"
    updater.downgrade("base")
    updater.update()
    assert (project.data / "up_pre.txt").read_text() == "True"


# -- on a terminal


def on_terminal(project, words, typed):
    """Run a command on a terminal of its own; answer each prompt that ends with a blank."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(project.root)
        os.environ["TERM"] = "xterm"
        os.execv(sys.executable, [sys.executable, "-m", "fietsupdate", *words])
    screen, shown, deadline = b"", 0, time.monotonic() + 60
    while time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.3)[0]:
            try:
                screen += os.read(terminal, 4096)
            except OSError:  # the child has closed it
                break
        if typed and screen[shown:].endswith((b"? ", b") ", b"] ")):
            shown = len(screen)
            os.write(terminal, typed.pop(0))
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(terminal)
    return code, screen.decode().replace("\r\n", "\n")


def test_on_a_terminal_everything_is_asked_before_the_run_begins(project):
    project.update("v1", (), None, up_pre=WRITES.format("lang", LANGUAGE), up_post=WRITES.format("who", NEEDED))
    project.update("v2", "v1", None, up_pre=WRITES.format("lang2", LANGUAGE))
    typed = [b"fr\n", b"de\n", b"\n", b"Ann\n", b"\n", b"y\n"]
    code, screen = on_terminal(project, ["update"], typed)
    assert code == 0, screen
    asked = [line for line in screen.splitlines() if " asks: " in line or line.startswith("Not ")]
    assert asked == [
        "v1 asks: Which language do old titles have? (en, de) [en] fr",
        "Not 'fr': it must be one of en, de.",
        "v1 asks: Which language do old titles have? (en, de) [en] de",
        "v1 asks: Who is the curator? ",
        "v1 asks: Who is the curator? Ann",
        "v2 asks: Which language do old titles have? (en, de) [en] ",
    ]
    assert screen.index("v2 asks") < screen.index("Do this now?") < screen.index("Applying v1")
    read = {name: (project.data / name).read_text() for name in ("lang", "who", "lang2")}
    assert read == {"lang": "de", "who": "Ann", "lang2": "en"}


def test_what_is_answered_already_is_not_asked_and_the_end_of_input_changes_nothing(project):
    project.update("v1", (), None, up_pre=WRITES.format("lang", LANGUAGE), up_post=WRITES.format("who", NEEDED))
    code, screen = on_terminal(project, ["update", "--answer", "language=de"], [b"\x04"])
    assert (code, "v1 asks: Which language" in screen) == (1, False)
    assert "Nothing was changed." in screen
    assert list(project.data.iterdir()) == []


# -- what reads the keyboard all the same

READS = {
    "input": "input('Sure? ')",
    "stdin": "assert not __import__('sys').stdin.readline(); raise EOFError",
    "buffer": "assert not __import__('sys').stdin.buffer.read(); raise EOFError",
    "getpass": "__import__('getpass').getpass()",
}


@pytest.mark.filterwarnings("ignore:Can not control echo")
@pytest.mark.parametrize("reads", READS.values(), ids=READS)
def test_a_hook_that_reads_the_keyboard_gets_nothing_and_a_warning(project, reads):
    body = f"try:\n    {reads}\nexcept EOFError:\n    self.files.write('eof', b'')"
    project.update("v1", (), None, up_pre=body)
    stdin = sys.stdin
    report = Updater.from_config(project.ini).update()
    assert (project.data / "eof").exists()
    (warning,) = report.warnings
    assert warning.startswith(
        "Up.pre_alembic of v1 reads standard input or the terminal, but gets nothing: the run is unattended."
    )
    assert sys.stdin is stdin


def test_input_that_is_not_caught_fails_the_update_and_does_not_block(project):
    project.update("v1", (), None, up_pre="self.files.write('a', b'')\ninput('Sure? ')")
    result = project.run("update", "--yes", input="yes\n").exited(1)
    assert "EOFError" in result.told
    assert "Warning: Up.pre_alembic of v1 reads standard input" in result.stdout
    assert not (project.data / "a").exists()


@pytest.fixture
def typed():
    """Put something on descriptor 0, as a pipe does."""
    saved = os.dup(0)
    reader, writer = os.pipe()
    os.write(writer, b"typed\n")
    os.close(writer)
    os.dup2(reader, 0)
    os.close(reader)
    yield
    os.dup2(saved, 0)
    os.close(saved)


@pytest.mark.usefixtures("typed")
def test_neither_does_a_program_that_a_hook_starts(project):
    body = WRITES.format("read", "subprocess.run(['cat'], stdout=subprocess.PIPE, check=True).stdout")
    project.update("v1", (), None, head="import subprocess", up_pre=body)
    Updater.from_config(project.ini).update()
    assert (project.data / "read").read_text() == ""
    assert os.read(0, 10) == b"typed\n", "descriptor 0 is back"


def test_a_check_of_the_application_that_reads_the_keyboard_is_told_too(project, monkeypatch):
    project.update("v1", (), None)
    (project.root / "reading_checks.py").write_text("def pre_check_sure(config):\n    return input()\n")
    project.ini.write_text(project.ini.read_text() + "checks = reading_checks\n")
    monkeypatch.chdir(project.root)  # Alembic's prepend_sys_path is relative to the working directory
    with pytest.raises(ChecksFailedError, match=r"reading_checks\.pre_check_sure failed: EOFError") as caught:
        Updater.from_config(project.ini).update()
    assert caught.value.warnings[0].startswith("reading_checks.pre_check_sure reads standard input")
