"""A power cut at any moment of a restore: recovered, both halves are as before or as in the backup.

What was synced is kept, and any subset of the rest; the database is a file in the data directory, so it is cut off as
everything else is. ``FIETSUPDATE_SWEEP=full`` looks at every moment, otherwise a few of them are taken.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from fietsupdate import Updater
from support.breaking import FULL
from support.databases import SQLITE
from support.going_back import changed_instance, left_over
from support.power_cuts import Recorder, restore
from support.zygote import Zygote


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    warm = Zygote()
    yield warm
    warm.close()


@pytest.mark.timeout(3600)
def test_power_lost_at_any_moment_of_a_restore(zygote: Zygote, monkeypatch: pytest.MonkeyPatch) -> None:
    with changed_instance(zygote, SQLITE, in_data=True) as bench:
        project, data = bench.project, bench.project.data
        backups = shutil.move(data / ".fietsupdate" / "backups", project.root / "kept")
        (backup,) = backups.iterdir()
        updater = Updater.from_config(project.ini)
        with monkeypatch.context() as patches:
            recorder = Recorder(data, patches)
            updater.restore(str(backup))
            recorder.stop()
        assert bench.where() == "after"
        crashes = recorder.crashes
        assert len(crashes) > 300
        met = set()
        strict = range(0, len(crashes), 3)  # where nothing but what was synced is kept
        loaded = next(number for number in strict if any("sqlite.new" in name for _, name in crashes[number].names))
        for number in range(len(crashes)) if FULL else [*strict[:: len(strict) // 10], loaded, strict[-1]]:
            shutil.rmtree(data)
            with monkeypatch.context() as patches:
                restore(crashes[number], data, patches)
                updater.recover()
            met.add(bench.where())
            assert met <= {"before", "after"}, number
            assert left_over(project) == [], number
        assert met == {"before", "after"}
