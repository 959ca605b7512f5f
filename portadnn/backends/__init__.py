"""Array libraries and devices: the only rooms that know a library by name."""

from portadnn.backends.base import (
    ARITHMETICS,
    DTYPES,
    MATMULS,
    Backend,
    BackendUnavailableError,
    to_host,
)
from portadnn.backends.environment import environment
from portadnn.backends.select import (
    BackendStatus,
    backend_of,
    choose_backend,
    get_backend,
    list_backends,
)

__all__ = [
    "ARITHMETICS",
    "DTYPES",
    "MATMULS",
    "Backend",
    "BackendStatus",
    "BackendUnavailableError",
    "backend_of",
    "choose_backend",
    "environment",
    "get_backend",
    "list_backends",
    "to_host",
]
