"""Folders of update scripts that installed packages publish: entry points of the group `GROUP`.

Nothing of a package is imported to read its metadata, and no package joins by being installed: the configuration
names each one.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from fietsupdate.errors import ConfigError
from fietsupdate.sources import nearest

GROUP = "fietsupdate.updates"
"""The group of entry points: ``shop = "shop:updates"`` publishes the folder ``updates`` of the package ``shop``."""


def published(name: str) -> tuple[str, str]:
    """Give the package and the folder in it that are published under a name; "" is the package's own folder.

    Raises:
        ConfigError: Nobody publishes anything under this name, or several packages do.
    """
    found = entry_points(group=GROUP, name=name)
    if len(found) == 1:
        [entry] = found
        return entry.module, (entry.attr or "").replace(".", "/")  # None where the value has no colon
    if found:
        packages = ", ".join(sorted(_distribution(entry) for entry in found))
        raise ConfigError(
            f"updates = {name}: is published by several installed packages: {packages}.",
            hint=f"Name the folder of one of them, package:folder, in place of {name}:",
        )
    known = sorted({entry.name for entry in entry_points(group=GROUP)})
    close = nearest(name, known) or "."
    raise ConfigError(
        f"updates = {name}: no installed package publishes its updates under the name {name!r}{close}",
        hint=f"Published in this Python: {', '.join(known) or 'nothing'}. A package publishes its folder by an entry "
        f"point of the group {GROUP!r}.",
    )


def is_published(name: str) -> bool:
    """Tell whether an installed package publishes its updates under this name."""
    return bool(entry_points(group=GROUP, name=name))


def _distribution(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else entry.value
