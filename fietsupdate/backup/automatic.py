"""The automatic backups of an update, so that there is a way back from a step that is not atomic.

The dump before such a step is paired with its transaction: the transaction's vault is the other half, and when the
vault is deleted, the dump is useless and is deleted, too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from fietsupdate.backup import directory
from fietsupdate.backup.create import BackupWriter, Purpose
from fietsupdate.backup.manifest import Backup, Reason, Scope
from fietsupdate.backup.places import folder_of, found, instance_tag, orphaned_dumps
from fietsupdate.backup.policy import backup_before, between, excess
from fietsupdate.engine.context import Context
from fietsupdate.engine.tip import Tip
from fietsupdate.errors import UNCHANGED, FietsupdateError
from fietsupdate.model import Direction, Plan, Policy, Step, fingerprint
from fietsupdate.views import DatabaseView

if TYPE_CHECKING:
    from fietsupdate.planning.version_hooks import Versions

DECLINED = "declined"
"""The plan's value for a backup that would be made, but was declined."""
WITHOUT = "Or repeat with --no-backup: there is no way back then from an update that fails half-way."


class AutomaticBackup:
    """Makes the backups of one run of updates.

    Args:
        instance: The instance.
        database: What was found in its database.
        policy: When backups are made.
        versions: The application's version; before a change of version both halves are backed up.
    """

    def __init__(
        self, context: Context, database: DatabaseView, policy: Policy, versions: Versions | None = None
    ) -> None:
        self._maker = BackupWriter(context, database, folder_of(context.application))
        self._instance = context
        self._policy = policy
        self._versions = versions
        self._copied = False
        self._resumes = database.begun is not None
        self._is_new = not (database.has_ledger or database.alembic_current or database.tables)

    def check(self, plan: Plan) -> Plan:
        """Check that the backups of a plan can be made, before anything changes.

        Return the plan with its backup filled in.

        Raises:
            FietsupdateError: A program is missing, or there is not enough space.
        """
        kind = self._kind(plan)
        if kind in set(Scope):
            try:
                self._maker.check(Scope(kind))
            except FietsupdateError as error:
                error.stands = error.stands or UNCHANGED
                error.hint = f"{error.hint} {WITHOUT}".lstrip()
                raise
        return replace(plan, backup=kind, backup_dir=str(self._maker.folder) if kind in set(Scope) else "")

    def before_run(self, plan: Plan, tip: Tip) -> None:
        """Back up both halves before the first step, if the plan requires it."""
        if plan.backup == Scope.FULL:
            self._maker.make(tip, Purpose(Scope.FULL, Reason.UPDATE, to_version=self._to_version(plan)))
            self._copied = True
            self._drop_attempts(tip)

    def _drop_attempts(self, tip: Tip) -> None:
        """Delete the backups of all attempts at a change of version except the first and the last.

        An application that is restarted again and again would fill the disk with them before it is mended.
        """
        application = self._instance.application
        with contextlib.suppress(OSError):  # a backup that cannot be deleted now is deleted later
            directory.remove(
                between(found(application).backups, tip.instance_id), instance_tag(application, tip.instance_id)
            )

    def before_step(self, step: Step, txn: str, tip: Tip) -> str:
        """Dump the database before a step that is not atomic.

        Return the name of the backup that leads back to before the step. A resumed step has its backup already. A step
        needs none either if nothing was changed since both halves were backed up in this run.
        """
        if not step.not_atomic:
            return ""
        there = self._way_back(txn, tip)
        wanted = self._policy is not Policy.NEVER and not self._is_new and tip.begun is None
        if wanted and not (there is not None and (self._copied or self._policy is Policy.FULL)):
            self.clean_up(tip, None)  # of many steps in one run, only the last one's dump is worth its space
            there = self._maker.make(tip, Purpose(Scope.DATABASE, Reason.UPDATE, txn))
        return there.name if there is not None else ""

    @contextlib.contextmanager
    def cleaned_up(self, tip: Tip) -> Iterator[None]:
        """Delete useless backups afterwards; backups of both halves only after success."""
        try:
            yield
        except BaseException:
            with contextlib.suppress(OSError):  # the failure itself must be reported
                self.clean_up(tip, None)
            raise
        self.clean_up(tip, self._instance.application.config.keep)

    def _kind(self, plan: Plan) -> str:
        steps = plan.steps[1:] if self._resumes else plan.steps
        not_atomic = any(step.not_atomic for step in steps)
        to_version = self._to_version(plan)
        if self._is_new or (all(step.only_records for step in steps) and not to_version):
            return ""
        if self._policy is Policy.NEVER:
            return DECLINED if not_atomic or plan.is_below_baseline else ""
        if (self._policy is Policy.FULL or to_version) and not self._resumes:
            return Scope.FULL.value
        return Scope.DATABASE.value if not_atomic else ""

    def _to_version(self, plan: Plan) -> str:
        """Return the version of the application to which a plan begins the change; "" for none."""
        begins = plan.direction is Direction.UP and self._versions is not None and self._versions.begins
        return self._versions.installed if self._versions is not None and begins else ""

    def _way_back(self, txn: str, tip: Tip) -> Backup | None:
        there = found(self._instance.application)
        return backup_before(there.backups, tip.instance_id, txn, fingerprint(tuple(tip.entries)))

    def clean_up(self, tip: Tip, keep: int | None) -> None:
        """Delete dumps whose vault is deleted, and backups of both halves beyond `keep`.

        ``None`` deletes none of those.
        """
        application = self._instance.application
        there, word = found(application).backups, instance_tag(application, tip.instance_id)
        directory.remove(orphaned_dumps(there, application.data_dir, tip.instance_id), word)
        gone = directory.remove(excess(there, keep, tip.instance_id), word)
        if gone:
            self._instance.tell("backups_pruned", ", ".join(gone), {"names": list(gone)})
