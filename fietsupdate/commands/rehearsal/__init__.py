"""The parts of a rehearsal: its clone, what is compared, what is reported, and what removes it."""
