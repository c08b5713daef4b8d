"""What must be done beside the migrations when the version changes."""

import logging
from shutil import rmtree

from kolibri.core.upgrade import version_upgrade

from schoolbox.home import HOME, execute

logger = logging.getLogger(__name__)


# Before 0.6 the content was only on the disk.
@version_upgrade(old_version="<0.6.0")
def record_content_that_is_on_the_disk():
    """Record each file of content that no lesson names."""
    known = {file for (file,) in execute("SELECT file FROM lesson")}
    for path in sorted((HOME / "content").iterdir()):
        if path.name not in known:
            execute("INSERT INTO lesson (file, title, shown) VALUES (?, ?, 1)", path.name, path.read_text())


@version_upgrade(old_version="<0.6.4", new_version=">=1.0.0")
def big_leap_upgrade():
    """Say that versions were left out."""
    logger.warning("You've just upgraded from a very old version to a very new version!")


# Since 1.0 they are read from where they are installed.
@version_upgrade(old_version="<1.0.0")
def clear_static_dir():
    """Remove the copies of static files."""
    rmtree(HOME / "static", ignore_errors=True)


@version_upgrade(old_version=">0.5.0,<0.5.9")
def mend_what_only_0_5_1_to_0_5_8_have_broken():
    """Show all lessons again."""
    execute("UPDATE lesson SET shown = 1")
