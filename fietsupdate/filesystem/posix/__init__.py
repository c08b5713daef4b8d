"""The operating system's file calls, made safe: durability, owners, renames, folders without symlinks."""
