"""What the pytest plugin is made of: throw-away instances, their whole state as values, and ways to break a process.

`fietsupdate.pytest_plugin` is the door; the tests of fietsupdate itself use the same modules.
"""
