"""The command line: parse, call the `fietsupdate.updater.Updater`, print."""


def process() -> int:
    """Run the command line as this process, and return the command's exit code: the console script."""
    from fietsupdate.cli.main import process as run

    return run()
