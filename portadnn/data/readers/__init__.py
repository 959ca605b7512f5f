"""Data as people have them: one file a format, and the table of formats."""
