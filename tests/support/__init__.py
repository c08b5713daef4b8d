"""What the tests stand on: databases and projects of their own, real ones, on disk and over real connections."""
