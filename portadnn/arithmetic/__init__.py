"""Reproducible arithmetic: the same bits on every library and device."""
