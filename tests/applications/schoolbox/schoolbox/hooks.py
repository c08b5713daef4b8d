"""Which modules have version hooks: the application's own, and those of the plugins that are active here."""

from collections.abc import Iterator

from fietsupdate import Settings
from schoolbox.home import active_plugins


def of_active_plugins(_settings: Settings) -> Iterator[str]:
    """Give the hook modules of the plugins that this home has activated."""
    return (f"{plugin}.upgrade" for plugin in active_plugins())
