"""The database's room, the only one that imports Alembic."""

import sys
from importlib import import_module


def _import_mako_alone() -> None:
    """Import Alembic's template engine without pygments, which mako wants for colours on HTML error pages.

    That is a tenth of the time that `status` takes; nobody here ever sees such a page.
    """
    if "mako.exceptions" in sys.modules or "pygments" in sys.modules:
        return
    sys.modules["pygments"] = None  # type: ignore[assignment]  # the import system's own way to say "there is none"
    try:
        import_module("mako.exceptions")
    except ImportError:
        return  # Alembic will say it better
    finally:
        del sys.modules["pygments"]


_import_mako_alone()
