"""The server: it has nothing to say, and runs until its PID file is gone."""

import time

from schoolbox.home import HOME

PID = HOME / "server.pid"
LONGEST = 60
"""Seconds: nobody waits for one that was forgotten."""


def serve() -> None:
    """Run until `PID` is removed, after it was there."""
    began = time.monotonic()
    while PID.exists() or time.monotonic() - began < 1:
        if time.monotonic() - began > LONGEST:
            break
        time.sleep(0.05)


if __name__ == "__main__":
    serve()
