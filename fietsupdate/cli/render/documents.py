"""JSON documents for programs, in pure ASCII, so that they are the same in every locale."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from fietsupdate.cli.render import backups, packages, working
from fietsupdate.errors import EXIT_CODES, FietsupdateError
from fietsupdate.model import Entry, Event, Failure, Plan, Status, Step, Update
from fietsupdate.model.questions import Question
from fietsupdate.planning.graph import Graph


def document(value: Mapping[str, Any]) -> str:
    """Return one JSON document for a reading command."""
    return json.dumps(value, indent=2, default=str)


def line(value: Mapping[str, Any]) -> str:
    """Return one JSON object on one line, for a stream of events."""
    return json.dumps(value, default=str)


def status(answer: Status) -> dict[str, Any]:
    """Return the document of ``status --json``."""
    return {
        "state": answer.state,
        "current": answer.current,
        "heads": answer.heads,
        "pending": [update.update_id for update in answer.pending],
        "unknown": answer.unknown,
        "applied": answer.applied,
        "packages": packages.status_documents(answer.packages),
        "alembic": {"current": answer.alembic_current, "heads": answer.alembic_heads},
        "version": _version(answer),
        "database": answer.database,
        "data_dir": answer.data_dir,
        "problems": [asdict(problem) for problem in answer.problems],
        "last_failure": _failure(answer.last_failure),
        "failing_imports": [asdict(one) for one in answer.failing_imports],
        "run": working.document(answer.run),
    }


def _failure(failure: Failure | None) -> dict[str, str] | None:
    return asdict(failure) if failure is not None else None


def _version(answer: Status) -> dict[str, Any] | None:
    if not answer.distribution:
        return None
    return {
        "distribution": answer.distribution,
        "installed": answer.app_version,
        "recorded": answer.data_version,
        "hooks": [hook.update_id for hook in answer.hooks],
    }


def check(answer: Status) -> dict[str, Any]:
    """Return the document of ``check --json``."""
    return {
        "state": answer.state,
        "exit_code": EXIT_CODES[answer.state],
        "problems": [asdict(problem) for problem in answer.problems],
    }


def update(one: Update) -> dict[str, Any]:
    """Return the document of one update."""
    return {
        "update_id": one.update_id,
        "summary": one.summary,
        "previous": one.previous,
        "alembic_revisions": one.alembic_revisions,
        "atomic": one.atomic,
        "baseline": one.baseline,
        "has_down": one.has_down,
        "leaves": [str(each) for each in one.leaves],
        "folder": one.folder,
        "path": one.path,
        "checksum": one.checksum,
    }


def show(one: Update, entries: Iterable[Entry], *, applied: bool) -> dict[str, Any]:
    """Return the document of ``show --json``."""
    return {**update(one), "applied": applied, "entries": [entry.document() for entry in entries]}


def heads(updates: Iterable[Update]) -> dict[str, Any]:
    """Return the document of ``heads --json``."""
    return {"heads": [update(one) for one in updates]}


def history(entries: Iterable[Entry], last_failure: Failure | None) -> dict[str, Any]:
    """Return the document of ``history --json``: the ledger, oldest entry first, and the failure after it."""
    return {"entries": [entry.document() for entry in entries], "last_failure": _failure(last_failure)}


def graph(whole: Graph, applied: frozenset[str] | None, unknown: Sequence[str]) -> dict[str, Any]:
    """Return the document of ``graph --json``, parents first; ``applied`` is null where the database is unreachable."""
    return {
        "updates": [
            {**update(whole.updates[one]), "applied": None if applied is None else one in applied}
            for one in whole.dag.order
        ],
        "unknown": list(unknown),
    }


def plan(what: Plan, not_checked: Sequence[str]) -> dict[str, Any]:
    """Return the document of ``update --dry-run --json``."""
    return {
        "plan": {
            "direction": what.direction,
            "current": what.current,
            "result": what.result,
            "adoption": asdict(what.adoption) if what.adoption else None,
            "steps": [_step(step) for step in what.steps],
            "backup": backups.plan(what),
        },
        "not_checked": list(not_checked),
    }


def _step(step: Step) -> dict[str, Any]:
    return {
        "update_id": step.update.update_id,
        "summary": step.update.summary,
        "direction": step.direction,
        "alembic_revisions": step.revisions,
        "atomic": not step.not_atomic,
        "not_atomic": step.not_atomic,
        "finished": step.finished,
        "leaves": [str(each) for each in step.leaves],
        "questions": [_question(question) for question in step.asks.questions],
        "unread_questions": list(step.asks.unread),
        "answers": [asdict(answer) for answer in step.answers],
    }


def _question(question: Question) -> dict[str, Any]:
    return {
        "name": question.name,
        "text": question.text,
        "default": question.default,
        "choices": list(question.choices),
    }


def event(what: Event) -> dict[str, Any]:
    """Return one event of ``update --json``: its non-empty fields, including the details."""
    fields = {
        "event": what.event,
        "time": what.time,
        "txn": what.txn,
        "update_id": what.update_id,
        "direction": what.direction,
        "phase": what.phase,
        "text": what.text,
    }
    told = {name: value for name, value in fields.items() if value}
    return {**told, **{name: value for name, value in what.details.items() if name not in fields}}


def failure(error: FietsupdateError) -> dict[str, Any]:
    """Return the document, or the last event, of a failure."""
    return {
        "error": {
            **error.details,
            "code": error.code,
            "message": error.message,
            "stands": error.stands,
            "hint": error.hint,
            **({"warnings": list(error.warnings)} if error.warnings else {}),
        }
    }
