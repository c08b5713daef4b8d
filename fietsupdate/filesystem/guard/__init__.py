"""Observes plain Python file calls: saves what a hook changes, or refuses changes altogether."""
