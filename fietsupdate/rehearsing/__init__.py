"""The parts of a rehearsal: its clone, who removes that, and what is reported."""
