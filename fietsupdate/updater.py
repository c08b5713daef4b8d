"""Updater: every command as a method that takes and returns values. It never prints."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fietsupdate.backup.manifest import Backup, Shelf
from fietsupdate.commands.keeper import Keeper
from fietsupdate.config.application import activated
from fietsupdate.model import Direction, Plan, Report
from fietsupdate.model.listeners import Listener, ignore

if TYPE_CHECKING:
    from fietsupdate.backup.policy import Despite
    from fietsupdate.commands.backup import Verified
    from fietsupdate.commands.rehearsal.report import Outlook, Rehearsal
    from fietsupdate.commands.restore import Candidate, Restored


class Updater(Keeper):
    """An instance and its update scripts.

    Args:
        config: The configuration; `from_config` reads one.
    """

    # -- what would be done

    def plan(
        self,
        target: str | None = None,
        *,
        direction: Direction = Direction.UP,
        checks: bool = False,
        as_root: bool = True,
        backup: str | None = None,
        below_baseline: bool = False,
        on_event: Listener | None = None,
        answers: Mapping[str, str] | None = None,
        unattended: bool = True,
    ) -> Plan:
        """Return the plan that `update` or `downgrade` would run; raise the errors with which they would refuse.

        Args:
            target: Id, prefix, ``+2``, ``-1``, ``head``, ``heads``, ``base``; ``None`` for everything.
            direction: Up or down.
            checks: Whether to load the scripts, too, and run their ``check`` hooks and the application's own
                pre-checks.
            as_root: Whether root may work on another user's data directory.
            backup: ``auto``, ``full`` or ``never``; ``None`` as configured.
            below_baseline: Whether a downgrade may revert a baseline.
            on_event: Called with the events of the checks.
            answers: As for `update`.
            unattended: Whether questions of the scripts are answered by their defaults instead of being asked.

        Raises:
            FietsupdateError: The reason why the plan cannot run.
        """
        given = self._given(answers, unattended=unattended)
        with self._run(on_event, as_root=as_root, backup=backup, below_baseline=below_baseline, given=given) as run:
            return run.plan(target, direction, checks=checks)

    # -- changing

    def update(
        self,
        target: str | None = None,
        *,
        agreed: Plan | None = None,
        on_event: Listener | None = None,
        lock_timeout: float | None = None,
        as_root: bool = False,
        backup: str | None = None,
        answers: Mapping[str, str] | None = None,
        unattended: bool = True,
    ) -> Report:
        """Apply the pending updates. An instance that is up to date is not locked.

        Args:
            target: Id, prefix, ``+2``, ``head``, ``heads``; ``None`` for everything.
            agreed: The plan that the administrator has confirmed; only this plan, or the rest of it, is run.
            on_event: Called with every event, in this thread.
            lock_timeout: Seconds to wait for another updater, 0 for none; ``None`` as configured.
            as_root: Whether root may work on another user's data directory.
            backup: When a backup is made first: ``auto``, ``full`` or ``never``; ``None`` as configured.
            answers: Answers to the scripts' questions, by name, or by update and name (``ID:NAME``); a missing answer
                is taken from the environment (``FIETSUPDATE_ANSWER_<NAME>``), or is the question's default.
            unattended: The value of `UpdateScript.unattended` in the scripts.

        Raises:
            LockedError: Another updater is still at work.
            UnansweredError: A question has neither an answer nor a default; nothing was changed.
            FietsupdateError: The update failed; ``stands`` tells the state of both halves.
        """
        given = self._given(answers, unattended=unattended)
        with self._run(on_event, lock_timeout, as_root=as_root, backup=backup, given=given) as run:
            return run.move(target, Direction.UP, agreed)

    def downgrade(
        self,
        target: str,
        *,
        agreed: Plan | None = None,
        on_event: Listener | None = None,
        lock_timeout: float | None = None,
        as_root: bool = False,
        backup: str | None = None,
        below_baseline: bool = False,
        answers: Mapping[str, str] | None = None,
        unattended: bool = True,
    ) -> Report:
        """Revert the updates that came after the target, and no others; arguments and errors as for `update`.

        With `below_baseline` a baseline may be reverted, too: Alembic then drops what the database held before the
        first update. Both halves are backed up before that, unless `backup` is ``never``.
        """
        given = self._given(answers, unattended=unattended)
        with self._run(
            on_event, lock_timeout, as_root=as_root, backup=backup, below_baseline=below_baseline, given=given
        ) as run:
            return run.move(target, Direction.DOWN, agreed)

    def stamp(
        self,
        update_ids: str | Sequence[str],
        *,
        with_alembic: bool | None = None,
        on_event: Listener | None = None,
        lock_timeout: float | None = None,
        as_root: bool = False,
    ) -> Report:
        """Record that the instance is at these updates, without running anything.

        Args:
            update_ids: Ids or prefixes; ``heads``, ``head``; ``base`` alone for none.
            with_alembic: Whether to set Alembic's version table, too, to the revisions that these updates need, in the
                same transaction; ``None``: only where the database has tables, but no Alembic version (after
                ``create_all``).
            on_event: Called with every event.
            lock_timeout: Seconds to wait for another updater; ``None`` as configured.
            as_root: Whether root may work on another user's data directory.

        Raises:
            FietsupdateError: The reason why nothing was recorded.
        """
        from fietsupdate.commands.stamp import stamp

        with self._run(on_event, lock_timeout, as_root=as_root) as run:
            return stamp(run, [update_ids] if isinstance(update_ids, str) else update_ids, with_alembic=with_alembic)

    def stampable(self, update_ids: Sequence[str]) -> tuple[str, ...]:
        """Return the full ids that `stamp` would record for these words; ``()`` for ``base``. Changes nothing.

        Raises:
            FietsupdateError: A word names no update, or several.
        """
        from fietsupdate.commands.stamp import stampable

        with self._entered() as (_, graph):
            return stampable(graph, update_ids)

    def recover(
        self,
        *,
        accept: bool = False,
        purge: bool = False,
        on_event: Listener | None = None,
        lock_timeout: float | None = None,
        as_root: bool = False,
    ) -> Report:
        """Finish or undo what an interrupted run left, as every `update` does before it begins.

        Args:
            accept: Whether an update that is half done was finished by hand, and is to be recorded as done.
            purge: Whether to delete the files that playback set aside, and the kept bytes of finished updates.
            on_event: Called with every event.
            lock_timeout: Seconds to wait for another updater; ``None`` as configured.
            as_root: Whether root may work on another user's data directory.

        Raises:
            InDoubtError: The outcome of the open transaction cannot be determined; nothing was changed.
            FietsupdateError: The recovery failed.
        """
        from fietsupdate.commands.recover import recover

        with self._run(on_event, lock_timeout, as_root=as_root) as run:
            return recover(run, accept=accept, purge=purge)

    # -- backups

    def backup(
        self,
        dest: str | Path | None = None,
        *,
        as_is: bool = False,
        on_event: Listener | None = None,
        lock_timeout: float | None = None,
        as_root: bool = False,
    ) -> Backup:
        """Make a backup of both halves as they are at this moment.

        Args:
            dest: The folder that the backup is made in; ``None`` for the configured folder.
            as_is: Whether halves that do not fit together are copied, too.
            on_event: Called with every event.
            lock_timeout: Seconds to wait for another updater; ``None`` as configured.
            as_root: Whether root may work on another user's data directory.

        Raises:
            FietsupdateError: There is no new backup; nothing else was changed.
        """
        from fietsupdate.commands.backup import make

        with self._run(on_event, lock_timeout, as_root=as_root) as run:
            return make(run, Path(dest).absolute() if dest is not None else None, as_is=as_is)

    def backups(self) -> Shelf:
        """Return the backups in the configured folder. No database is needed."""
        from fietsupdate.commands.backup import listed

        with activated(self.config) as application:
            return listed(application)

    def verify_backup(
        self, name: str | None = None, *, restore: bool = False, on_event: Listener | None = None
    ) -> Verified:
        """Read a backup from end to end.

        Args:
            name: The name of the backup, or the path of its folder; ``None`` for the newest backup of both halves.
            restore: Whether to restore a sound backup into a throw-away place as well, and compare the result.
            on_event: Called with the progress.

        Raises:
            UsageError: There is no backup of this name.
            FietsupdateError: The backup is damaged, or could not be restored into the throw-away place.
        """
        from fietsupdate.commands.backup import verified

        with activated(self.config) as application:
            answer = verified(application, name, on_event or ignore)
        if not restore or answer.wrong:
            return answer
        from fietsupdate.commands.prove import prove

        with self._run(on_event) as run:
            return replace(answer, proof=prove(run, answer.backup))

    def prune_backups(
        self,
        keep: int | None = None,
        *,
        dry_run: bool = False,
        lock_timeout: float | None = None,
        as_root: bool = False,
    ) -> tuple[str, ...]:
        """Delete the backups that need not be kept, and return their names.

        Args:
            keep: How many backups of both halves to keep, at least 1; ``None`` as configured.
            dry_run: Whether to return the names only, and delete nothing.
            lock_timeout: Seconds to wait for another updater; ``None`` as configured.
            as_root: Whether root may work on another user's data directory.

        Raises:
            FietsupdateError: The instance cannot be read or locked.
        """
        from fietsupdate.commands.backup import prune, to_prune

        with self._run(None, lock_timeout, as_root=as_root) as run:
            return (to_prune if dry_run else prune)(run, self.config.keep if keep is None else keep)

    # -- going back

    def restorable(self) -> tuple[Backup, ...]:
        """Return the backups that can be restored here, newest first. Changes nothing, waits for nothing.

        Raises:
            FietsupdateError: The configuration, or the database's server, cannot be used.
        """
        from fietsupdate.commands.restore import candidates

        with self._run() as run:
            return candidates(run)

    def restore_plan(
        self, name: str | None = None, *, despite: Collection[Despite] = (), as_root: bool = True
    ) -> Candidate:
        """Return what `restore` would replace, and raise the errors with which it would refuse.

        The backup's content is not read.
        """
        from fietsupdate.commands.restore import check

        with self._run(as_root=as_root) as run:
            return check(run, name, despite)

    def restore(
        self,
        name: str | None = None,
        *,
        despite: Collection[Despite] = (),
        on_event: Listener | None = None,
        lock_timeout: float | None = None,
        as_root: bool = False,
    ) -> Restored:
        """Take both halves back to a backup.

        Args:
            name: Name of a backup, or path of its folder; ``None`` for the newest that can be restored.
            despite: The reasons against the restore that are to be overruled.
            on_event: Called with every event.
            lock_timeout: Seconds to wait for another updater; ``None`` as configured.
            as_root: Whether root may work on another user's data directory.

        Raises:
            FietsupdateError: The restore failed; ``stands`` tells the state of both halves.
        """
        from fietsupdate.commands.restore import restore

        with self._run(on_event, lock_timeout, as_root=as_root) as run:
            return restore(run, name, despite)

    def rehearse(
        self,
        target: str | None = None,
        *,
        round_trip: bool = False,
        on_event: Listener | None = None,
        lock_timeout: float | None = None,
        as_root: bool = False,
        answers: Mapping[str, str] | None = None,
    ) -> Rehearsal | None:
        """Run the plan that leads to a target on a clone of both halves; see `fietsupdate.commands.rehearse`.

        Args:
            target: As for `update`.
            round_trip: Whether to revert the updates afterwards, compare, and apply them again.
            on_event: Called with every event, in this thread.
            lock_timeout: Seconds to wait for another updater before cloning; ``None`` as configured.
            as_root: Whether root may work on another user's data directory.
            answers: As for `update`; only the clone keeps them.

        Returns:
            The findings, also where an update failed (``failure``); ``None`` where there is nothing to rehearse.

        Raises:
            FietsupdateError: The rehearsal was not possible at all.
        """
        from fietsupdate.commands.rehearse import rehearse

        with self._run(on_event, lock_timeout, as_root=as_root, given=self._given(answers)) as run:
            return rehearse(run, target, round_trip=round_trip)

    def outlook(self, plan: Plan, *, ask: bool = False, answers: Mapping[str, str] | None = None) -> Outlook:
        """Return the estimates for a plan: the figures of its last rehearsal, else of the scripts' ``estimate`` hooks.

        Args:
            plan: The plan that `plan` returned.
            ask: Whether the ``estimate`` hooks may be called, which runs code of the scripts.
            answers: As for `update`.
        """
        from fietsupdate.commands.outlook import outlook

        with self._run(given=self._given(answers)) as run:
            return outlook(run, plan, ask=ask)
