"""Datasets and models: what is read from and written to files."""
