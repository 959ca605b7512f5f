"""Models for other programs: a module for each format, and a table of the file formats."""
