"""Models for other programs: one file a format, and one table of those that are files."""
