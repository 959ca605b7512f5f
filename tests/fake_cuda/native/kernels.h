/* Shared by kernels.c, which runs kernels, and modules.c, which finds them. */
#pragma once

/* Flags of a kernel; python/fake_cuda_kernels.py sets them from its source. */
enum {
    /* Its threads differ only in CuPy's loop over the grid, CUPY_FOR. */
    KERNEL_IS_FLAT = 1,
    /* The kernel has barriers or exchanges values within a warp. */
    KERNEL_HAS_BARRIERS = 2,
    /* The kernel computes in float32 and was compiled with -ftz=true. */
    KERNEL_FLUSHES = 4,
};

/* device/entry.h exports one for each kernel. */
struct entry {
    void (*run)(void** arguments);
    const unsigned* sizes; /* bytes of each argument; 0 ends the list */
    int flags;
};

struct function {
    struct entry entry;
    int device;
    char name[200];
};
