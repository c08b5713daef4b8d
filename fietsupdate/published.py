"""Folders of update scripts that installed packages publish: entry points of the group `GROUP`.

Nothing of a package is imported to read its metadata, and no package joins by being installed: the configuration
names each one.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

from fietsupdate.errors import ConfigError
from fietsupdate.sources import nearest

GROUP = "fietsupdate.updates"
"""The group of entry points: ``shop = "shop:updates"`` publishes the folder ``updates`` of the package ``shop``."""


@dataclass(frozen=True, slots=True)
class Publication:
    """What one entry point says."""

    package: str
    folder: str
    """The folder in the package; "" is the package's own."""
    said: str
    """The beginning of a message that it points nowhere."""
    hint: str
    """What to do then."""


def published(name: str) -> Publication:
    """Give what is published under a name.

    Raises:
        ConfigError: Nobody publishes anything under this name, several packages do, or what one says makes no sense.
    """
    found = entry_points(group=GROUP, name=name)
    if len(found) == 1:
        [entry] = found
        return _read(entry)
    if found:
        packages = ", ".join(sorted(_distribution(entry) for entry in found))
        raise ConfigError(
            f"updates = {name}: several installed packages publish their updates under this name: {packages}.",
            hint=f"Name the folder of one of them, package:folder, in place of {name}:",
        )
    known = sorted({entry.name for entry in entry_points(group=GROUP)})
    close = nearest(name, known) or "."
    raise ConfigError(
        f"updates = {name}: no installed package publishes its updates under the name {name!r}{close}",
        hint=f"Published in this Python: {', '.join(known) or 'nothing'}. A package publishes its folder by an entry "
        f"point of the group {GROUP!r}.",
    )


def _read(entry: EntryPoint) -> Publication:
    by = _distribution(entry)
    said = f"updates = {entry.name}: the entry point {entry.name} = {entry.value} of {by} points nowhere"
    hint = (
        f"'pip install --force-reinstall {by}' mends a broken installation; where it does not, the fault is the "
        f"package's own. As long as none of its updates is applied, '{entry.name}:' can be taken out of `updates`."
    )
    if not entry.pattern.match(entry.value):
        raise ConfigError(f"{said}: it is not written as package:folder.", hint=hint)
    return Publication(entry.module, (entry.attr or "").replace(".", "/"), said, hint)  # None: no colon in the value


def is_published(name: str) -> bool:
    """Tell whether an installed package publishes its updates under this name."""
    return bool(entry_points(group=GROUP, name=name))


def _distribution(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else entry.value
