"""Shared by the checks."""


def is_refused(function, *args, error=Exception):
    try:
        function(*args)
    except error:
        return True
    return False
