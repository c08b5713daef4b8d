"""Scripts say what they will need; it is summed and told, in words and figures, when somebody is asked."""

from __future__ import annotations

import pytest

from fietsupdate import Estimate
from fietsupdate.cli.change import Change
from fietsupdate.cli.render.rehearsal import estimated, in_words
from fietsupdate.cli.session import Session
from fietsupdate.commands.rehearsal.report import Outlook
from fietsupdate.engine.estimates import Estimates
from fietsupdate.model import Direction
from fietsupdate.updater import Updater
from support.fake_updater import PLAN, FakeUpdater
from support.notes import revisions
from support.projects import Project


def waiting(project: Project, *answers: str) -> Project:
    """Bring a project to v1; after it come updates whose estimates are these expressions, "" for none."""
    revisions(project)
    project.update("v1", (), "r1")
    updater(project).update()
    for number, answer in enumerate(answers, start=2):
        more = f"def estimate(self, config):\n    {answer}" if answer else ""
        project.update(f"v{number}", f"v{number - 1}", up_more=more, head="from fietsupdate import Estimate")
    return project


def updater(project: Project) -> Updater:
    return Updater.from_config(str(project.ini))


def asked(project: Project) -> Estimates:
    known = updater(project).outlook(updater(project).plan(), ask=True)
    assert known.estimates is not None
    return known.estimates


def test_an_estimate_has_several_forms(project: Project) -> None:
    forms = {
        "return Estimate(seconds=90, bytes=1000)": Estimate(90.0, 1000),
        "return Estimate(bytes=1000)": Estimate(None, 1000),
        "return {'seconds': 1.5}": Estimate(1.5, None),
        "return {'seconds': 1, 'bytes': 2.6}": Estimate(1.0, 3),
        "return 12": Estimate(12.0, None),
        "return 0.5": Estimate(0.5, None),
    }
    assert list(asked(waiting(project, *forms)).given.values()) == list(forms.values())


def test_a_script_may_say_nothing(project: Project) -> None:
    estimates = asked(waiting(project, "return None", "return Estimate()", "return {}", "pass", ""))
    assert (estimates.given, estimates.failures, estimates.silent) == ({}, {}, 5)


def test_what_is_no_estimate_is_told_and_counts_as_none(project: Project) -> None:
    wrong = ["'soon'", "-1", "float('nan')", "True", "{'minutes': 3}", "{'seconds': '3'}", "(1, 2)", "Estimate(1, -1)"]
    estimates = asked(waiting(project, *(f"return {value}" for value in wrong)))
    assert estimates.given == {}
    assert len(estimates.failures) == len(wrong)
    assert estimates.failures["v2"] == (
        "Up.estimate of v2 gave 'soon'; it must give a fietsupdate.Estimate, a mapping with 'seconds' and 'bytes', "
        "a number of seconds, or None, none of them negative."
    )


def test_an_estimate_that_fails_stands_in_nobodys_way(project: Project) -> None:
    estimates = asked(waiting(project, "raise ValueError('who knows')", "return 3"))
    assert "ValueError: who knows" in estimates.failures["v2"]
    assert (estimates.seconds, estimates.silent) == (3.0, 1)


def test_an_estimate_may_look_at_both_halves_but_change_no_file(project: Project) -> None:
    count = (
        "from sqlalchemy import create_engine, text\n"
        "    engine = create_engine(config['sqlalchemy.url'])\n"
        "    with engine.connect() as c: rows = c.execute(text('SELECT count(*) FROM notes')).scalar()\n"
        "    engine.dispose()\n"
        "    return Estimate(rows, (self.data_dir / 'there').stat().st_size)"
    )
    waiting(project, count, "(self.data_dir / 'bad').touch()")
    project.database.execute("INSERT INTO notes (id) VALUES (1), (2)")
    (project.data / "there").write_text("12345")
    before = project.tree(exclude=[".fietsupdate"])
    estimates = asked(project)
    assert estimates.given == {"v2": Estimate(2.0, 5)}
    assert "belongs to the real instance" in estimates.failures["v3"]
    assert project.tree(exclude=[".fietsupdate"]) == before


def test_they_are_summed_over_the_plan(project: Project) -> None:
    estimates = asked(waiting(project, "return Estimate(100, 5)", "", "return {'bytes': 7}", "return 80", ""))
    assert (estimates.seconds, estimates.bytes, estimates.silent) == (180.0, 12, 2)
    assert estimated(estimates) == (
        "This takes about 3 minutes and 12 B, by the scripts' own estimates; 2 of 5 updates give none."
    )


def test_a_downgrade_asks_the_classes_that_will_run(project: Project) -> None:
    revisions(project)
    project.update("v1", (), "r1", down_more="def estimate(self, config): return 7", up_more="estimate = None")
    updater(project).update()
    plan = updater(project).plan("base", direction=Direction.DOWN)
    estimates = updater(project).outlook(plan, ask=True).estimates
    assert estimates is not None
    assert estimates.given == {"v1": Estimate(7.0, None)}


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "less than a second"),
        (1, "about 1 second"),
        (42.4, "about 42 seconds"),
        (61, "about 1 minute"),
        (200, "about 3 minutes"),
        (3600, "about 1 hour"),
        (7500, "about 2 hours and 5 minutes"),
    ],
)
def test_times_are_told_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


@pytest.mark.parametrize(
    ("estimates", "text"),
    [
        (Estimates(1, {"a": Estimate(200, 1_200_000_000)}, {}), "about 3 minutes and 1.2 GB, by the scripts'"),
        (
            Estimates(2, {"a": Estimate(None, 5000)}, {}),
            "5.0 kB, by the scripts' own estimates; 1 of 2 updates gives none",
        ),
        (Estimates(2, {}, {}), "How long this takes is not known: no script gives an estimate. `fietsupdate rehearse`"),
    ],
)
def test_the_sum_is_told_in_words_and_figures(estimates: Estimates, text: str) -> None:
    assert text in estimated(estimates)


def test_a_dry_run_runs_no_script_and_one_with_checks_asks_for_estimates(project: Project) -> None:
    waiting(project, f"{project.trace('asked')}\n    return Estimate(seconds=200, bytes=2_000_000)")
    assert "estimates" not in project.run("update", "--dry-run").succeeded().stdout
    assert project.run("update", "--dry-run", "--json").succeeded().json["outlook"]["estimates"] is None
    assert project.traces() == []
    told = project.run("update", "--dry-run", "--checks").succeeded().stdout
    assert "This takes about 3 minutes and 2.0 MB, by the scripts' own estimates." in told
    document = project.run("update", "--dry-run", "--checks", "--json").succeeded().json
    assert document["outlook"]["estimates"] == {
        "seconds": 200.0,
        "bytes": 2_000_000,
        "updates": {"v2": {"seconds": 200.0, "bytes": 2_000_000}},
        "silent": 0,
        "failures": {},
    }


def test_the_question_of_update_tells_the_estimates() -> None:
    """With what `outlook` gives: see `test_cli` for terminals."""
    fake = FakeUpdater()
    session = Session(updater_class=lambda: FakeUpdater)
    fake.known = Outlook(None, Estimates(2, {"v0.2.0": Estimate(200, None)}, {"v0.1.0": "It failed."}))
    described = Change(session)._described(fake, PLAN)
    session.close()
    assert described.endswith(
        "\n\nThis takes about 3 minutes, by the scripts' own estimates; 1 of 2 updates gives none.\n"
        "The estimate of v0.1.0 could not be had: It failed."
    )
    assert described.startswith("2 updates will be applied:")


def test_after_a_rehearsal_the_scripts_are_not_asked(project: Project) -> None:
    waiting(project, f"{project.trace('asked')}\n    return 5")
    assert updater(project).rehearse() is not None
    known = updater(project).outlook(updater(project).plan(), ask=True)
    assert known.rehearsal is not None
    assert known.estimates is None
    assert project.traces() == []
