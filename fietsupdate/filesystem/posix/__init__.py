"""What the operating system offers for files, made safe: durability, owners, renames, folders without symlinks."""
