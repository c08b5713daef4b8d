"""What can be typed, what is refused, what is asked, and what the program exits with."""

import json
import os
import pty
import select
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import typer

from fietsupdate import __version__
from fietsupdate.cli.main import COMMANDS, main
from fietsupdate.cli.parser import WORDS_OF_OTHERS
from fietsupdate.cli.session import Session
from fietsupdate.errors import EXIT_CODES, LockedError, PlanError, RefusedError
from fietsupdate.model import Direction, Event, Problem, UpdateState
from fietsupdate.process import Stop
from support import fake_updater
from support.fake_updater import GRAPH, NOTHING, OUTDATED, PLAN, FakeUpdater
from support.paths import TESTS

HEAVY = ("rich", "jinja2", "alembic", "sqlalchemy", "pydantic", "fietsupdate.updater", "fietsupdate.commands.run")


@pytest.fixture
def updater():
    """A class of its own for each test, so that nothing that one test sets is seen by another."""
    return type("Updater", (FakeUpdater,), {"calls": []})


@pytest.fixture
def fiets(updater, capfd):
    """Run a command line; give exit code, stdout and stderr."""

    def run(*words, **environ):
        code = main(words, Session(updater_class=lambda: updater, environ=environ))
        return code, *capfd.readouterr()

    return run


# -- global options


@pytest.mark.parametrize(
    "line",
    [
        "-c a.ini -c pyproject.toml -n main -x a=1 -x b=2 status",
        "status -c a.ini -c pyproject.toml -n main -x a=1 -x b=2",
        "-c a.ini status --config=pyproject.toml --name main -x a=1 -xb=2",
        "-x a=1 -c a.ini status -x b=2 -cpyproject.toml -nmain",
    ],
)
def test_global_options_stand_before_or_after_the_command(fiets, updater, line):
    code, _, _ = fiets(*line.split())
    assert code == 0
    assert updater.calls[0] == ("from_config", ("a.ini", "pyproject.toml"), "main", ("a=1", "b=2"))


def test_the_version_is_printed(fiets):
    assert fiets("--version") == (0, f"fietsupdate {__version__}\n", "")


@pytest.mark.parametrize("words", [["-h"], ["--help"], ["update", "-h"], ["-v", "update", "--yes", "--help"]])
def test_help_is_printed_wherever_it_is_asked_for(fiets, updater, words):
    code, out, err = fiets(*words)
    assert (code, err, updater.calls) == (0, "", [])
    assert out.startswith("Usage: fietsupdate")


def test_help_is_a_command_too(fiets, updater):
    """Fietsboek: ``fietsupdate help``, ``fietsupdate help update``."""
    assert fiets("help") == fiets("--help")
    assert fiets("help", "update") == fiets("update", "--help")
    assert fiets("help", "backup", "verify")[:2] == fiets("backup", "verify", "--help")[:2]
    code, _, err = fiets("help", "updaet")
    assert code == 2
    assert "did you mean 'update'" in err
    assert updater.calls == []


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["update", "--help"], ["statsu"], ["downgrade"]])
def test_nothing_heavy_is_imported_for_what_needs_no_instance(words):
    script = f"""
import sys
import typer
already = set(sys.modules)  # an old typer imports rich itself
from fietsupdate.cli.parser import WORDS_OF_OTHERS
from fietsupdate.cli.main import COMMANDS, main
main({words!r})
print([name for name in {HEAVY!r} if name in sys.modules.keys() - already], file=sys.stderr)
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stderr.splitlines()[-1] == "[]"


def test_reading_a_command_line_with_values_does_not_import_pydantic():
    script = """
import sys
import typer
already = set(sys.modules)
from support.fake_updater import FakeUpdater
from fietsupdate.cli.parser import WORDS_OF_OTHERS
from fietsupdate.cli.main import COMMANDS, main
from fietsupdate.cli.session import Session
code = main(["-c", "a.ini", "show", "v0.1.0", "--json"], Session(updater_class=lambda: FakeUpdater))
sys.exit(code or [name for name in ("pydantic", "rich", "alembic") if name in sys.modules.keys() - already] or 0)
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=TESTS, check=False)
    assert (result.returncode, result.stderr) == (0, "")


def test_status_imports_nothing_for_versions_restores_and_backups_that_are_not_there(make_project):
    project = make_project()
    script = """
import gc, sys
from fietsupdate.cli.main import process
sys.argv[1:] = ["status"]
code = process() or not gc.get_freeze_count()
late = ("script", "engine.version_hooks", "planning.version_hooks")
late += ("backup.policy", "backup.create", "backup.restore_journal")
sys.exit(code or str([name for name in late if f"fietsupdate.{name}" in sys.modules]))
"""
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=project.root, check=False
    )
    assert result.stderr == "[]\n"


def test_of_a_command_that_is_named_first_nothing_but_its_own_verbs_is_built(fiets, monkeypatch):
    """It takes typer long to look at each command that it is told of."""
    built, real = [], typer.main.get_command
    monkeypatch.setattr(typer.main, "get_command", lambda app: built.append(app.registered_commands) or real(app))
    fiets("backup", "list")
    assert [command.name for command in built[0]] == ["backup", "backup list", "backup verify", "backup prune"]


# -- targets and usage errors


@pytest.mark.parametrize("target", ["-1", "-12", "base", "v0.1.0"])
def test_a_downgrade_target_may_begin_with_a_minus(fiets, updater, target):
    code, _, _ = fiets("downgrade", target, "-y")
    assert code == 0
    assert updater.calls[-1] == ("downgrade", target, None, None, False)


def test_an_update_target_may_begin_with_a_plus(fiets, updater):
    assert fiets("update", "--yes", "+2")[0] == 0
    assert updater.calls[-1] == ("update", "+2", None, None, False)


def test_after_two_dashes_everything_is_a_word(fiets, updater):
    assert fiets("update", "--yes", "--", "--odd")[0] == 0
    assert updater.calls[-1][1] == "--odd"


@pytest.mark.parametrize(("word", "ours"), WORDS_OF_OTHERS.items())
def test_the_words_of_other_tools_lead_to_commands_that_there_are(fiets, word, ours):
    code, _, err = fiets(word)
    assert code == 2
    assert err.splitlines()[-1].split(maxsplit=1)[1].strip() == f"Type `fietsupdate {ours}`."
    assert ours.startswith("--") or ours.split()[0] in COMMANDS
    assert fiets(*ours.split()[:1], "--help")[0] == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "fietsupdate: no command was named."),
        ("statsu", "fietsupdate: there is no command 'statsu'; did you mean 'status'?"),
        ("frobnicate", "fietsupdate: there is no command 'frobnicate'."),
        ("upgrade head", "fietsupdate: there is no command 'upgrade'; here that is `fietsupdate update`."),
        ("rollback", "fietsupdate: there is no command 'rollback'; here that is `fietsupdate downgrade -1`."),
        (
            "update --lock-timout 3",
            "fietsupdate update: there is no option --lock-timout; did you mean --lock-timeout?",
        ),
        ("--jsn status", "fietsupdate: there is no option --jsn."),
        ("downgrade -z", "fietsupdate downgrade: there is no option -z."),
        ("downgrade -1a", "fietsupdate downgrade: there is no option -1a."),
        ("downgrade", "fietsupdate downgrade: TARGET is missing."),
        ("stamp --yes", "fietsupdate stamp: ID... is missing."),
        ("status now", "fietsupdate status: nothing is expected at 'now'."),
        ("update a b", "fietsupdate update: nothing is expected at 'b'."),
        ("update --yes=no", "fietsupdate update: the option --yes takes no value."),
        ("revision -m", "fietsupdate revision: the option -m needs a value."),
        ("revision -m --merge", "fietsupdate revision: the option -m needs a value."),
        ("status -c", "fietsupdate status: the option -c needs a value."),
        ("status -v -q", "-v and -q exclude each other."),
        ("graph --mermaid --json", "--format, --mermaid and --json exclude each other."),
        ("graph --format svg", "--format is text, mermaid or dot, not 'svg'."),
        ("graph --format dot --json", "--format, --mermaid and --json exclude each other."),
        ("update --checks --yes", "--checks belongs to --dry-run; a real run makes all checks anyway."),
        ("update --yes --lock-timeout soon", "--lock-timeout needs a number of seconds, not 'soon'."),
        ("update --yes --lock-timeout=-1", "--lock-timeout needs a number of seconds, not '-1'."),
        ("revision v1 --release v1", "--release VERSION is the id already; give one of the two."),
    ],
)
def test_a_wrong_command_line_exits_with_2_and_says_what_is_wrong(fiets, updater, line, message):
    code, out, err = fiets(*line.split())
    if "--json" in line.split():
        assert json.loads(out)["error"]["message"] == message
    else:
        assert (out, err.splitlines()[0]) == ("", f"Error:  {message}")
    assert code == 2
    assert updater.calls == []


# -- questions


@pytest.mark.parametrize("command", ["update", "downgrade -1", "stamp v0.1.0", "recover --purge", "recover --accept"])
def test_without_a_terminal_and_without_yes_it_refuses(command):
    result = subprocess.run(
        [sys.executable, fake_updater.__file__, *command.split()],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert result.stdout == ""
    dry_run = ", or --dry-run to see the plan only" if command.split()[0] in {"update", "downgrade"} else ""
    assert result.stderr.splitlines() == [
        "Error:  This changes the instance, and there is no terminal to ask on.",
        "Now:    Nothing was changed.",
        f"Next:   Add --yes (or set FIETSUPDATE_YES=1) to run without a question{dry_run}.",
    ]


@pytest.mark.parametrize("words", [["--yes"], ["-y"], ["--force"], ["-f"], ["-fy"]])
def test_yes_and_its_aliases_answer_the_question(fiets, updater, words):
    assert fiets("update", *words)[0] == 0
    assert [call[0] for call in updater.calls] == ["from_config", "update"]


@pytest.mark.parametrize("value", ["1", "true", "YES"])
def test_the_environment_can_answer_the_question(fiets, value):
    assert fiets("update", FIETSUPDATE_YES=value)[0] == 0


@pytest.mark.parametrize(("value", "message"), [("0", "there is no terminal"), ("maybe", "neither yes nor no")])
def test_an_environment_that_does_not_say_yes_is_no_answer(value, message):
    result = subprocess.run(
        [sys.executable, fake_updater.__file__, "update"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, "FIETSUPDATE_YES": value},
        check=False,
    )
    assert result.returncode == 2
    assert message in result.stderr


def in_terminal(words, typed):
    """Run the fake program on a terminal of its own, type when it asks; give exit code and screen."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.pop("FIETSUPDATE_YES", None)
        os.environ["TERM"] = "xterm"
        os.execv(sys.executable, [sys.executable, fake_updater.__file__, *words])
    screen = b""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if not select.select([terminal], [], [], 1)[0]:
            continue
        try:
            chunk = os.read(terminal, 4096)
        except OSError:  # the child has closed it
            break
        if not chunk:
            break
        screen += chunk
        if typed and screen.endswith(b"[y/n] "):
            os.write(terminal, typed.pop(0))
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(terminal)
    return code, screen.decode().replace("\r\n", "\n")


def test_the_plan_is_shown_before_the_question_and_yes_runs_it():
    code, screen = in_terminal(["update"], [b"what\n", b"y\n"])
    assert code == 0
    assert screen.index("2 updates will be applied") < screen.index("Do this now? [y/n]")
    assert screen.count("Do this now? [y/n]") == 2
    assert "2 updates applied in 1.5 s. Current: v0.2.0." in screen


@pytest.mark.parametrize("typed", [b"n\n", b"no\n", b"\x04"])
@pytest.mark.parametrize("command", [["update"], ["downgrade", "-1"], ["stamp", "v0.1.0"], ["recover", "--purge"]])
def test_no_and_the_end_of_input_change_nothing(command, typed):
    code, screen = in_terminal(command, [typed])
    assert code == 1
    assert screen.endswith("Nothing was changed.\n")
    assert "Current:" not in screen


def test_control_c_at_the_question_exits_with_130():
    code, screen = in_terminal(["update"], [b"\x03"])
    assert code == 130
    assert "Interrupted by the user." in screen
    assert "Nothing was changed." in screen


# -- running


def test_options_of_a_run_reach_the_updater(fiets, updater):
    assert fiets("update", "-y", "v0.2.0", "--lock-timeout", "2.5", "--as-root")[0] == 0
    assert updater.calls[-1] == ("update", "v0.2.0", None, 2.5, True)


def test_a_run_tells_what_it_did(fiets):
    assert fiets("update", "--yes") == (0, "      told\n2 updates applied in 1.5 s. Current: v0.2.0.\n", "")


def test_nothing_to_do_is_said_and_is_success(fiets, updater):
    updater.planned, updater.events = NOTHING, ()
    assert fiets("update", "--yes") == (0, "Nothing to do: the instance is at v0.2.0.\n", "")


def test_quiet_prints_nothing_on_success(fiets):
    assert fiets("-q", "update", "--yes") == (0, "", "")


def test_a_dry_run_shows_the_plan_and_what_it_did_not_check(fiets, updater):
    code, out, _ = fiets("update", "--dry-run", "v0.2.0")
    assert code == 0
    assert "2 updates will be applied" in out
    assert "Not checked:" in out
    assert "--checks runs them" in out
    assert updater.calls[1:] == [("plan", "v0.2.0", Direction.UP, False, False)]


def test_a_dry_run_can_run_the_checks(fiets, updater):
    _, out, _ = fiets("downgrade", "--dry-run", "--checks", "base", "--as-root")
    assert "--checks runs them" not in out
    assert updater.calls[1:] == [("plan", "base", Direction.DOWN, True, True)]


def test_a_dry_run_as_json_is_one_line(fiets):
    code, out, err = fiets("update", "--dry-run", "--json")
    document = json.loads(out)
    assert (code, err, out.count("\n")) == (0, "", 1)
    assert [step["update_id"] for step in document["plan"]["steps"]] == ["30ppwg8zi4ujb46f", "v0.2.0"]
    assert len(document["not_checked"]) == 3


def test_json_events_are_one_a_line_and_end_with_finished(fiets):
    code, out, err = fiets("update", "--yes", "--json")
    events = [json.loads(line) for line in out.splitlines()]
    assert (code, err) == (0, "")
    assert [event["event"] for event in events] == ["plan", "tell", "finished"]
    assert events[1] == {"event": "tell", "time": "2026-11-21T20:00:38.123Z", "update_id": "v0.2.0", "text": "told"}
    assert events[2]["current"] == ["v0.2.0"]


def test_finished_is_not_told_twice(fiets, updater):
    updater.events = (Event("finished", "2026-11-21T20:00:39.123Z", details={"current": ["v0.2.0"]}),)
    _, out, _ = fiets("update", "--yes", "--json")
    assert out.count("finished") == 1


def test_recover_tells_where_the_instance_is_afterwards(fiets, updater):
    code, out, _ = fiets("recover")
    assert code == 0
    assert ("recover", False, False, None, False) in updater.calls
    assert out == "The instance is outdated: 2 updates waiting, up to v0.2.0\n"


def test_stamp_takes_several_ids(fiets, updater):
    assert fiets("stamp", "--yes", "a", "b")[0] == 0
    assert updater.calls[-1][:2] == ("stamp", ("a", "b"))


def test_revision_hands_its_options_on(fiets, updater):
    line = ["revision", "new", "-m", "-m is text", "--previous", "a", "--previous=b", "--folder", "f", "--autogenerate"]
    code, out, _ = fiets(*line)
    assert (code, out) == (0, "updates/upd_new.py\n")
    assert updater.calls[-1] == (
        "revision",
        "new",
        {
            "message": "-m is text",
            "previous": ("a", "b"),
            "folder": "f",
            "merge": False,
            "release": False,
            "autogenerate": True,
        },
    )


def test_a_release_is_named_by_its_option(fiets, updater):
    assert fiets("revision", "--release", "v0.3.0")[0] == 0
    assert updater.calls[-1][1] == "v0.3.0"
    assert updater.calls[-1][2]["release"] is True


def test_init_says_what_it_wrote(fiets, updater):
    code, out, _ = fiets("init", "-c", "a.ini", "--data-dir", "%(here)s/files")
    assert code == 0
    assert updater.calls == [("init", ("a.ini",), None, (), "%(here)s/files")]
    assert out.splitlines()[0] == "Added the section [fietsupdate] to alembic.ini."


# -- answers


@pytest.mark.parametrize("state", list(UpdateState))
def test_check_exits_by_state_and_prints_one_line(fiets, updater, state):
    updater.answer = replace(OUTDATED, state=state)
    code, out, err = fiets("check")
    assert (code, err, out.count("\n")) == (EXIT_CODES[state], "", 1)
    assert out.startswith(f"{state}: ")


def test_check_as_json_names_state_and_exit_code(fiets):
    code, out, _ = fiets("check", "--json")
    assert (code, json.loads(out)) == (3, {"state": "outdated", "exit_code": 3, "problems": []})


def test_status_as_json_has_the_documented_keys(fiets, updater):
    problem = Problem("alembic_ahead", "The database is ahead.", "Write the update.", blocks=False)
    updater.answer = replace(OUTDATED, unknown=("x",), problems=(problem,))
    code, out, err = fiets("status", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == {
        "state": "outdated",
        "current": ["v0.1.0"],
        "heads": ["v0.2.0"],
        "pending": ["30ppwg8zi4ujb46f", "v0.2.0"],
        "unknown": ["x"],
        "applied": ["v0.1.0"],
        "packages": {},
        "alembic": {"current": ["aaa111"], "heads": ["bbb222"]},
        "version": None,
        "database": "postgresql://fiets:***@db/fiets",
        "data_dir": "/srv/app/data",
        "problems": [
            {
                "code": "alembic_ahead",
                "message": "The database is ahead.",
                "hint": "Write the update.",
                "blocks": False,
            }
        ],
        "last_failure": None,
        "failing_imports": [],
        "run": None,
    }


@pytest.mark.parametrize("command", [["history"], ["heads"], ["show", "v0"], ["graph"], ["status"], ["check"]])
def test_every_reading_command_answers_with_one_json_document(fiets, command):
    _, out, err = fiets(*command, "--json")
    assert err == ""
    assert isinstance(json.loads(out), dict)


def test_the_graph_is_drawn_without_marks_where_the_instance_is_out_of_reach(updater, fiets):
    class Unreachable(updater):
        def status(self):
            raise PlanError("the server is down")

    Unreachable.calls = updater.calls
    session = Session(updater_class=lambda: Unreachable, environ={})
    assert main(["graph", "--json"], session) == 0
    _, out, err = fiets("--version")
    applied = [one["applied"] for one in json.loads(out.partition("fietsupdate ")[0])["updates"]]
    assert applied == [None] * len(GRAPH.updates)
    assert err == "Which updates are applied is not known: the server is down\n"


# -- errors


def test_an_error_says_what_happened_what_stands_and_what_to_type(fiets, updater):
    updater.error = RefusedError.because(Problem("too_new", "The instance is newer.", "Install 2.0."))
    code, out, err = fiets("update", "--yes")
    assert (code, out) == (1, "")
    assert err == "Error:  The instance is newer.\nNow:    Nothing was changed.\nNext:   Install 2.0.\n"


def test_an_error_as_json_is_a_document(fiets, updater):
    updater.error = LockedError("Locked.", stands="Nothing was changed.", hint="Wait.", details={"pid": 7})
    code, out, err = fiets("update", "--yes", "--json")
    assert (code, err) == (8, "")
    assert json.loads(out) == {
        "error": {
            "pid": 7,
            "code": "locked",
            "message": "Locked.",
            "stands": "Nothing was changed.",
            "hint": "Wait.",
        }
    }


def test_an_unexpected_exception_is_one_message_without_traceback(fiets, updater):
    updater.error = KeyError("zzz")
    code, out, err = fiets("status")
    assert (code, out) == (1, "")
    assert err.startswith("Error:  KeyError: 'zzz' - it was raised in ")
    assert "fake_updater.py" in err
    assert "Traceback" not in err


def test_a_script_that_exits_is_a_failure(fiets, updater):
    updater.error = SystemExit(0)
    code, _, err = fiets("update", "--yes")
    assert code == 1
    assert err.startswith("Error:  SystemExit: 0")


@pytest.mark.parametrize("words", [["--traceback", "status"], ["status", "--traceback"]])
def test_a_traceback_is_shown_when_it_is_asked_for(fiets, updater, words):
    updater.error = PlanError("No way.")
    code, _, err = fiets(*words)
    assert code == 1
    assert err.startswith("Traceback (most recent call last):")
    assert err.endswith("Error:  No way.\n")


@pytest.mark.parametrize(("signum", "code"), [(2, 130), (15, 143)])
def test_signals_have_their_exit_codes(fiets, updater, signum, code):
    updater.error = Stop(signum)
    assert fiets("update", "--yes")[0] == code


# -- streams


def test_output_goes_on_when_the_reader_has_gone():
    read, write = os.pipe()
    os.close(read)
    result = subprocess.run(
        [sys.executable, fake_updater.__file__, "update", "--yes"],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize(("command", "code"), [("status", 1), ("update --yes", 0)])
def test_an_answer_that_cannot_be_written_is_a_failure_and_an_update_that_ran_is_none(command, code):
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        result = subprocess.run(
            [sys.executable, fake_updater.__file__, *command.split()],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert result.returncode == code
    assert ("could not be written" in result.stderr) is bool(code)


def test_closed_descriptors_do_no_harm():
    script = f"{sys.executable} {fake_updater.__file__} update --yes >&- 2>&-"
    assert subprocess.run(["sh", "-c", script], check=False).returncode == 0


def test_the_numbers_of_closed_streams_are_taken_by_nothing_else(tmp_path):
    """A database that is opened as descriptor 1 would be printed into."""
    code = "import os, fietsupdate.cli.main as cli; cli._open_standard_streams(); os.open('file', os.O_CREAT); print(1)"
    opened = "; os.write(3, ' '.join(os.readlink(f'/dev/fd/{n}') for n in range(3)).encode())"
    script = f'{sys.executable} -c "{code}{opened}" 3>seen <&- >&- 2>&-'
    subprocess.run(["sh", "-c", script], cwd=tmp_path, check=True)
    assert (tmp_path / "seen").read_text() == " ".join(["/dev/null"] * 3)


def test_a_working_directory_that_is_gone_is_told(fiets, tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    code, _, err = fiets("status")
    assert code == 1
    assert "does not exist any more" in err


def test_events_reach_the_real_stdout_while_descriptor_1_points_elsewhere(updater, capfd):
    class Redirecting(updater):
        def update(self, target=None, **options):
            saved = os.dup(1)
            os.dup2(2, 1)
            os.write(1, b"a print of a hook\n")
            try:
                return super().update(target, **options)
            finally:
                os.dup2(saved, 1)
                os.close(saved)

    Redirecting.calls = []
    assert main(["update", "--yes", "--json"], Session(updater_class=lambda: Redirecting, environ={})) == 0
    out, err = capfd.readouterr()
    assert err == "a print of a hook\n"
    assert [json.loads(line)["event"] for line in out.splitlines()] == ["plan", "tell", "finished"]


def test_every_text_can_be_printed_in_every_locale():
    environ = {**os.environ, "LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    result = subprocess.run(
        [sys.executable, fake_updater.__file__, "graph"], capture_output=True, env=environ, check=False
    )
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout.decode("ascii").splitlines()[0] == "o  v0.2.0  Second release"


def test_the_module_is_the_program():
    result = subprocess.run(
        [sys.executable, "-m", "fietsupdate", "--version"], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout) == (0, f"fietsupdate {__version__}\n")


def test_the_plan_of_the_fake_is_one_that_does_something():
    assert PLAN
    assert not NOTHING


def test_another_system_than_posix_is_refused_with_one_sentence(monkeypatch, capfd):
    monkeypatch.setattr("fietsupdate.cli.main.SYSTEM", "nt")
    code = main(["status"])
    captured = capfd.readouterr()
    assert (code, captured.out) == (1, "")
    assert captured.err == "fietsupdate runs on POSIX systems only: Linux, macOS, the BSDs.\n"
