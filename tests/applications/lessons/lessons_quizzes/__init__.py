"""A plugin of lessons, with a distribution of its own."""
