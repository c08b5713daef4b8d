"""The warm process of the package fietsboek, in its own environment: what its env.py and scripts import is there."""

from __future__ import annotations

import importlib

from fietsupdate.testing import forkserver

if __name__ == "__main__":
    for name in ("brotli", "gpxpy", "fietsboek.models", "fietsboek.updater.script", "plaster_pastedeploy"):
        importlib.import_module(name)
    forkserver.serve()
