/* Kernels run here: the blocks of a grid one after another, and the threads of a block in turn.

   The host's thread that launches, or waits, runs all of it while it holds fake_cuda_lock. So one
   set of variables is enough, and atomic operations of a kernel are plain ones. */
#define _GNU_SOURCE
#include "kernels.h"
#include "fake_cuda.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
    MAX_THREADS = 1024,
    MAX_ARGUMENTS = 256,
    MAX_SHARED_MEMORY = 232448,
    WARP = 32,
    SHARED_ALIGNMENT = 512,
};

/* Kernels see these, see device/threads.h. */
struct dim {
    unsigned x, y, z;
} threadIdx, blockIdx, blockDim, gridDim;
char* fake_shared;                /* the shared memory of unknown size that a launch asks for */
uint64_t fake_slots[MAX_THREADS]; /* a value of each thread, for exchanges within a warp */

static int current; /* the number of the running thread within its block */

int fake_thread(void) {
    return current;
}

static void set_thread(int thread) {
    int row = thread / blockDim.x;
    current = thread;
    threadIdx.x = thread % blockDim.x;
    threadIdx.y = row % blockDim.y;
    threadIdx.z = row / blockDim.y;
}

/* ---- fibers ----

   A thread that reaches a barrier must stop in the middle of its kernel until the others are there.
   Each thread of such a block is a fiber: it has a stack of its own, and at a barrier it goes back
   to run_block, which goes on with the next. makecontext and swapcontext of the C library do the
   same, but each switch makes a system call, which is too slow for a reduction. */

enum { STACK_SIZE = 1 << 17, PAGE = 4096, SAVED_REGISTERS = 6 };
enum fiber_state { READY, AT_WARP_BARRIER, AT_BLOCK_BARRIER, DONE }; /* device/threads.h has them */

static struct fiber {
    void* stack;
    void* top; /* the fiber's registers lie here while another one runs */
    enum fiber_state state;
} fibers[MAX_THREADS];
static void* scheduler; /* the same as top, for run_block */
static void (*kernel)(void**);
static void** kernel_arguments;

/* Saves the registers that a call must keep on this stack, and the stack in *save; then goes on
   where the stack `load` was left. */
void fake_switch(void** save, void* load);
__asm__(".text\n"
        ".globl fake_switch\n"
        ".type fake_switch,@function\n"
        "fake_switch:\n"
        "push %rbp\n"
        "push %rbx\n"
        "push %r12\n"
        "push %r13\n"
        "push %r14\n"
        "push %r15\n"
        "mov %rsp,(%rdi)\n"
        "mov %rsi,%rsp\n"
        "pop %r15\n"
        "pop %r14\n"
        "pop %r13\n"
        "pop %r12\n"
        "pop %rbx\n"
        "pop %rbp\n"
        "pop %rcx\n" /* the address to go on at: the caller's, or run_fiber the first time */
        "jmp *%rcx\n");

/* A kernel calls this at a barrier. */
void fake_wait(int state) {
    struct fiber* fiber = &fibers[current];
    fiber->state = state;
    fake_switch(&fiber->top, scheduler);
}

static void run_fiber(void) {
    kernel(kernel_arguments);
    fake_wait(DONE); /* does not return: nobody goes on with a fiber that is done */
}

static void start_fiber(struct fiber* fiber) {
    if (!fiber->stack) {
        fiber->stack = mmap(0, STACK_SIZE, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (fiber->stack == MAP_FAILED) {
            perror("fake_cuda: no memory for the stack of a thread");
            abort();
        }
        mprotect(fiber->stack, PAGE, PROT_NONE); /* a stack that overflows ends the process */
    }
    /* The stack looks as if run_fiber had been called and had called fake_switch at once. The empty
       word above its address makes the stack aligned as after a call. */
    void** top = (void**)((char*)fiber->stack + STACK_SIZE) - 1;
    *--top = (void*)run_fiber;
    fiber->top = top - SAVED_REGISTERS;
    fiber->state = READY;
}

/* Each thread of the warp runs to its next barrier of the block; returns how many ended. */
static int run_warp(int first, int end) {
    int done = 0;
    for (int again = 1; again;) {
        again = 0;
        for (int thread = first; thread < end; thread++) {
            if (fibers[thread].state == READY) {
                set_thread(thread);
                fake_switch(&scheduler, fibers[thread].top);
                done += fibers[thread].state == DONE;
            }
        }
        for (int thread = first; thread < end; thread++) {
            if (fibers[thread].state == AT_WARP_BARRIER) {
                fibers[thread].state = READY;
                again = 1;
            }
        }
    }
    return done;
}

static void run_block_with_barriers(int threads) {
    for (int thread = 0; thread < threads; thread++)
        start_fiber(&fibers[thread]);
    for (int left = threads; left > 0;) {
        for (int first = 0; first < threads; first += WARP)
            left -= run_warp(first, first + WARP < threads ? first + WARP : threads);
        for (int thread = 0; thread < threads; thread++)
            if (fibers[thread].state == AT_BLOCK_BARRIER)
                fibers[thread].state = READY;
    }
}

/* ---- launches ---- */

struct launch {
    const struct function* function;
    struct dim grid, block;
    unsigned shared; /* bytes */
    char arguments[] __attribute__((aligned(16)));
};

/* Bytes of an argument within a launch: the next one is aligned for any type. */
static size_t place_of(unsigned size) {
    return (size + 15) / 16 * 16;
}

static void run_launch(void* data) {
    /* a graph replays its launches, so they are not changed */
    struct launch* launch = data;
    const struct entry* entry = &launch->function->entry;
    void* arguments[MAX_ARGUMENTS];
    char* next = launch->arguments;
    for (int i = 0; entry->sizes[i]; i++) {
        arguments[i] = next;
        next += place_of(entry->sizes[i]);
    }
    gridDim = launch->grid;
    blockDim = launch->block;
    /* Most of CuPy's kernels: one thread makes all turns of the loop, in a fraction of the time. */
    if (entry->flags & KERNEL_IS_FLAT)
        gridDim = blockDim = (struct dim){1, 1, 1};
    int threads = blockDim.x * blockDim.y * blockDim.z;
    fake_shared = 0;
    if (launch->shared)
        fake_shared = aligned_alloc(SHARED_ALIGNMENT,
                                    (launch->shared / SHARED_ALIGNMENT + 1) * SHARED_ALIGNMENT);
    kernel = entry->run;
    kernel_arguments = arguments;

    /* -ftz=true: two bits of the processor's register MXCSR flush subnormal results (FTZ) and
       operands (DAZ) of SSE instructions to zero. They do so for float64 also, which CUDA does
       not: README.md names it among the limits. */
    enum { FTZ_AND_DAZ = 0x8040 };
    unsigned mode = __builtin_ia32_stmxcsr();
    if (entry->flags & KERNEL_FLUSHES)
        __builtin_ia32_ldmxcsr(mode | FTZ_AND_DAZ);
    for (unsigned z = 0; z < gridDim.z; z++) {
        for (unsigned y = 0; y < gridDim.y; y++) {
            for (unsigned x = 0; x < gridDim.x; x++) {
                blockIdx = (struct dim){x, y, z};
                if (entry->flags & KERNEL_HAS_BARRIERS) {
                    run_block_with_barriers(threads);
                    continue;
                }
                for (int thread = 0; thread < threads; thread++) {
                    set_thread(thread);
                    kernel(arguments);
                }
            }
        }
    }
    __builtin_ia32_ldmxcsr(mode);
    free(fake_shared);
}

int cuLaunchKernel(struct function* function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                   unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared,
                   void* stream, void** parameters, void** extra) {
    (void)extra;
    const unsigned* sizes = function->entry.sizes;
    unsigned blocks = grid_x * grid_y * grid_z;
    unsigned threads = block_x * block_y * block_z;
    if (function->device != fake_cuda_current_device)
        return cudaErrorInvalidResourceHandle;
    if (!blocks || !threads || threads > MAX_THREADS || shared > MAX_SHARED_MEMORY)
        return cudaErrorInvalidValue;
    size_t size = sizeof(struct launch);
    for (int i = 0; sizes[i]; i++) {
        if (i == MAX_ARGUMENTS)
            return cudaErrorInvalidValue;
        size += place_of(sizes[i]);
    }
    struct launch* launch = malloc(size);
    *launch = (struct launch){
        .function = function,
        .grid = {grid_x, grid_y, grid_z},
        .block = {block_x, block_y, block_z},
        .shared = shared,
    };
    char* next = launch->arguments;
    for (int i = 0; sizes[i]; i++) {
        memcpy(next, parameters[i], sizes[i]);
        next += place_of(sizes[i]);
    }
    fake_cuda_log("launch %s %ux%u", function->name, blocks, threads);
    int error = fake_cuda_enqueue(stream, run_launch, launch, size);
    free(launch);
    return error;
}
