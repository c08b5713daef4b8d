"""Files that no row names, put out of the way until they are released or purged."""
