"""Memory of the card: the most that a library's allocator had in use at once."""

from __future__ import annotations

import gc
import sys


def peak_of(run):
    """Call ``run()``; the peak in bytes, data included, or None if no library here has a GPU."""
    gc.collect()
    if torch := _on_gpu("torch", lambda torch: torch.cuda.is_initialized()):
        torch.cuda.reset_peak_memory_stats()
        run()
        return torch.cuda.max_memory_allocated()
    if jax := _on_gpu("jax", lambda jax: jax.devices()[0].platform == "gpu"):
        run()
        # since the process started, for JAX cannot forget a peak
        return jax.devices()[0].memory_stats()["peak_bytes_in_use"]
    if cupy := _on_gpu("cupy", lambda cupy: True):
        with _hook(cupy) as peak:
            run()
        return peak.most
    return None


def _on_gpu(name, condition):
    """The library if it is imported and computes on a GPU, else None."""
    library = sys.modules.get(name)
    return library if library is not None and condition(library) else None


def _hook(cupy):
    """CuPy's pool keeps no peak, so its allocations are counted."""

    class Peak(cupy.cuda.MemoryHook):
        name = "peak"

        def __init__(self):
            self.used = self.most = cupy.get_default_memory_pool().used_bytes()

        def malloc_postprocess(self, *, mem_size, **rest):
            self.used += mem_size
            self.most = max(self.most, self.used)

        def free_postprocess(self, *, mem_size, **rest):
            self.used -= mem_size

    return Peak()
