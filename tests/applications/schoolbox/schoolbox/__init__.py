"""Lessons for schools without a network, made as Kolibri is: a home folder, plugins, functions bound to versions."""
