"""The configuration: its files, its keys, and the application that it describes."""
