"""Keep an ``alembic upgrade`` that was typed from habit from going past pending updates.

A line in env.py calls this.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fietsupdate.config.application import activated, is_at_work
from fietsupdate.config.config import Config, command_line, load_config
from fietsupdate.database.errors import alembic_refusal
from fietsupdate.errors import FietsupdateError
from fietsupdate.filesystem.ledger import inspect_files
from fietsupdate.planning.graph import build
from fietsupdate.planning.history import applied_set, closed
from fietsupdate.planning.loader import load
from fietsupdate.planning.position import settled_entries

DESPITE = ("fietsupdate", "ignore")
"""The -x argument with which a user overrides the refusal."""


def refuse_pending(context: Any, config: Config | None = None) -> None:
    """Refuse ``alembic upgrade`` while updates are pending, before it changes anything; call it in env.py.

    Every other use passes: other commands of Alembic, ``--sql``, and fietsupdate itself. The pending updates are read
    from the data directory and the scripts; the database is not asked.

    Args:
        context: ``alembic.context``.
        config: The configuration, if it is not in the files that Alembic has read.

    Raises:
        alembic.util.CommandError: Updates are pending; the message names them, and the command to type.
    """
    if is_at_work() or not _upgrades(context):
        return
    if context.get_x_argument(as_dictionary=True).get(DESPITE[0]) == DESPITE[1]:
        return
    try:
        own = config or _configured(context.config)
        waiting = _waiting(own)
    except FietsupdateError as error:
        raise alembic_refusal(f"Whether updates wait cannot be told: {error.message} {error.hint}".rstrip()) from error
    if waiting:
        more = f" and {len(waiting) - 1} more" if len(waiting) > 1 else ""
        raise alembic_refusal(
            f"Updates wait ({waiting[0]}{more}), and `alembic upgrade` would change the schema without their files. "
            f"Type `{command_line(own, 'update')}` instead. If you mean it: "
            f"`alembic -x {'='.join(DESPITE)} upgrade ...`."
        )


def _upgrades(context: Any) -> bool:
    """Whether env.py runs for an upgrade that changes a database, whichever program has called Alembic."""
    options = (getattr(context, "_proxy", None) or context).context_opts
    return getattr(options.get("fn"), "__name__", "") == "upgrade" and not context.is_offline_mode()


def _configured(alembic: Any) -> Config:
    named = (alembic.config_file_name, getattr(alembic, "toml_file_name", None))
    files = [str(file) for file in named if file is not None and Path(file).is_file()]
    return load_config(files, section=alembic.config_ini_section)


def _waiting(config: Config) -> Sequence[str]:
    with activated(config) as application:
        graph = build(load(application.folders), [folder.name for folder in application.folders])
        files = inspect_files(application.data_dir, config.version_file)
        entries = settled_entries(files, None)
        applied = applied_set(entries, graph) if entries else closed(files.version or (), graph)
        return [update.update_id for update in graph.ordered if update.update_id not in applied]
