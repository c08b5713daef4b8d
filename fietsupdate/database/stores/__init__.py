"""One module for each kind of database that can be copied."""
