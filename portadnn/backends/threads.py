"""How many threads of BLAS a step takes: one if its products are small."""

from __future__ import annotations

import functools
import threading
from typing import Any

# Multiplications. If other processes are busy, a product waits for its second thread, and a step of
# small products is 10 times slower. If the processors are idle, the second thread gains a third.
SMALL_PRODUCT = 2**23


class _OneThread:
    """Limit BLAS to one thread, in the whole process, while any thread is inside."""

    def __init__(self) -> None:
        self.lock, self.inside = threading.Lock(), 0
        self.limit: Any = None

    def __enter__(self) -> None:
        with self.lock:
            if not self.inside:
                self.limit = _blas().limit(limits=1)
            self.inside += 1

    def __exit__(self, *error: object) -> None:
        with self.lock:
            self.inside -= 1
            if not self.inside and self.limit is not None:
                self.limit.restore_original_limits()


@functools.cache
def _blas() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


one_thread = _OneThread()
