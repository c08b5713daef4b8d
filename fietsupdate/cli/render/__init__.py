"""Values in, text out. Nothing here decides anything."""
