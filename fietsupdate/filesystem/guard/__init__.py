"""Observe plain Python file calls: save what a hook changes, or refuse changes altogether."""
