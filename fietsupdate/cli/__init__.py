"""The command line: parse, ask the `fietsupdate.updater.Updater`, print."""


def process() -> None:
    """Run the command line as this process, and end it with the command's exit code: the console script."""
    from fietsupdate.cli.main import process as run

    run()
