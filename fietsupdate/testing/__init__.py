"""The modules behind the pytest plugin: temporary instances, their complete state, and ways to kill a process.

Projects use `fietsupdate.pytest_plugin`; the tests of fietsupdate itself use the same modules.
"""
