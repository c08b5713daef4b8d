"""Whole databases: copied, restored, cloned, compared; one or two modules for each backend."""
