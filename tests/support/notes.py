"""The small application of many tests: notes in a table, their texts in files, three releases.

    v1 (r1: the table) - v2 (r2: a column more) - v3 (r3: another one)

Every hook writes a line like ``v2 up pre`` to the project's trace.
"""

from __future__ import annotations

from support.projects import Project

HOOKS = ("up_pre", "up_post", "down_pre", "down_post")


def revisions(project: Project) -> None:
    """Write three Alembic revisions, one after another."""
    table = 'op.create_table("notes", sa.Column("id", sa.Integer, primary_key=True), sa.Column("text", sa.String(100)))'
    project.revision("r1", None, table, 'op.drop_table("notes")')
    column = 'op.add_column("notes", sa.Column("{0}", sa.Integer))'
    for number, name in ((2, "size"), (3, "archived")):
        drop = f'op.drop_column("notes", "{name}")'
        project.revision(f"r{number}", f"r{number - 1}", column.format(name), drop)


def traced(project: Project, update_id: str, **bodies: str) -> dict[str, str]:
    """Return the four hook arguments of `Project.update`: each leaves its trace, then does what `bodies` say."""
    lines = {hook: project.trace(f"{update_id} {hook.replace('_', ' ')}") for hook in HOOKS}
    return {hook: f"{lines[hook]}\n{bodies.get(hook, 'pass')}" for hook in HOOKS}


def updates(project: Project, count: int = 3, *, atomic: bool | None = True) -> None:
    """Write the first `count` of the three releases."""
    for number in range(1, count + 1):
        previous = f"v{number - 1}" if number > 1 else ()
        project.update(f"v{number}", previous, f"r{number}", atomic=atomic, **traced(project, f"v{number}"))


def notes(project: Project, count: int = 3, *, atomic: bool | None = True) -> Project:
    """Write the application into `project`, and return the project."""
    revisions(project)
    updates(project, count, atomic=atomic)
    return project


def hooks(*update_ids: str, direction: str = "up") -> list[str]:
    """Return the trace of updates that ran as they should."""
    return [f"{update_id} {direction} {phase}" for update_id in update_ids for phase in ("pre", "post")]
