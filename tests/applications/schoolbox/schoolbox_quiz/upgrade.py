"""What the plugin does when the version of Schoolbox changes."""

from kolibri.core.upgrade import version_upgrade
from schoolbox.home import execute


@version_upgrade(old_version="<1.0.0")
def ask_in_capitals():
    """Write the questions as 1.0 wants them."""
    execute("UPDATE lesson SET question = upper(title) WHERE question IS NULL")
