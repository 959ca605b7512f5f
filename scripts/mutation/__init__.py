"""Mutants of the mathematics, and what parity makes of each."""
