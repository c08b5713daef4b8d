"""The pure room: scripts, graph and ledger in, plans and diagnoses out. No clock, no disk writes, no database."""
