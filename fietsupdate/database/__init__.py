"""The database's room, the only one besides `testing` that imports Alembic."""

import sys
from importlib import import_module


def _import_mako_alone() -> None:
    """Import Alembic's template engine without pygments, which mako uses to colour its HTML error pages.

    This saves a tenth of the time of `status`; such a page is never shown here.
    """
    if "mako.exceptions" in sys.modules or "pygments" in sys.modules:
        return
    sys.modules["pygments"] = None  # type: ignore[assignment]  # the import system's own way to say "there is none"
    try:
        import_module("mako.exceptions")
    except ImportError:
        return  # Alembic will report it better
    finally:
        del sys.modules["pygments"]


_import_mako_alone()
