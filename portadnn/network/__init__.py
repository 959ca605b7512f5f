"""The mathematics: pure functions of arrays, written against the array API alone."""
