"""The pure room: takes scripts, graph and ledger, and returns plans and diagnoses.

No clock, disk writes or database.
"""
