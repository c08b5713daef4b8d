"""Where the application's own updater was."""
