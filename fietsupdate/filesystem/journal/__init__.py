"""The undo log of a file transaction: records, changes, and how they are undone."""
