"""A diary of bicycle tours: tracks in a table, their GPX data on disk from 30ppwg8zi4ujb46f on."""
