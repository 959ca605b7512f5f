/* Shared by the C files of the stand-in for libcuda.so.1 and libcudart.

   A function fake_cudaX takes the place of CUDA's cudaX, which is linked into CuPy (patch.c says
   how). A function cuX is the driver's. Names that start with fake_cuda_ are the stand-in's own. */
#pragma once
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

/* The driver's CUDA_ERROR_... have the same numbers. */
enum cudaError {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorMemoryAllocation = 2,
    cudaErrorNoDevice = 100,
    cudaErrorInvalidDevice = 101,
    cudaErrorInvalidResourceHandle = 400,
    cudaErrorSymbolNotFound = 500,
    cudaErrorNotReady = 600,
    cudaErrorNotSupported = 801,
    cudaErrorStreamCaptureUnsupported = 900,
    cudaErrorStreamCaptureInvalidated = 901,
    cudaErrorStreamCaptureUnmatched = 903,
    cudaErrorStreamCaptureImplicit = 906,
    cudaErrorCapturedEvent = 907,
};

/* ---- log.c ---- */

void fake_cuda_log(const char* format, ...) __attribute__((format(printf, 1, 2)));

/* ---- devices.c ---- */

extern int fake_cuda_device_count;
/* The device on which this thread works. */
extern __thread int fake_cuda_current_device;
int fake_cuda_device(void);
/* Keeps the error for cudaGetLastError, and returns it. */
int fake_cuda_fail(int error);

/* ---- work.c: what a stream is asked to do ---- */

/* One piece of work: a function, and a copy of its arguments. */
struct work {
    struct work* next;
    void (*run)(void*);
    char data[] __attribute__((aligned(16)));
};
/* Work in the order in which it runs: the queue of late work, or what a capture recorded. */
struct graph {
    int users; /* handles of CUDA, and other graphs, that hold it */
    int count;
    struct work *first, *last;
};

/* FAKE_CUDA_LATE=1: work waits in a queue until the host waits. */
extern int fake_cuda_late;
/* Held while work runs, because kernels share their variables. It is recursive: a host function
   that runs as work may call CUDA. */
extern pthread_mutex_t fake_cuda_lock;
/* Runs the work now, or later, or records it, as the stream demands. The data are copied. */
int fake_cuda_enqueue(void* stream, void (*run)(void*), void* data, size_t size);
/* Runs everything in the queue. */
void fake_cuda_catch_up(void);
int fake_cuda_queue_is_empty(void);
/* One user less; without users the graph is freed. */
void fake_cuda_drop_graph(struct graph* graph);
void fake_cuda_append(struct graph* graph, void (*run)(void*), const void* data, size_t size);

/* ---- streams.c ---- */

struct stream {
    int device;
    int blocking; /* this stream and the legacy stream wait for each other */
    struct capture* capture;
    struct stream* next;
};
extern struct stream* fake_cuda_streams;
/* CUDA's own streams are no pointers: 0 and 1 are the legacy stream, 2 is the thread's. */
static inline int fake_cuda_is_own_stream(const struct stream* stream) {
    return (uintptr_t)stream <= 2;
}
static inline int fake_cuda_is_legacy_stream(const struct stream* stream) {
    return (uintptr_t)stream < 2;
}
/* An error if nothing may be put on the stream now, or waited for. */
int fake_cuda_check_stream(struct stream* stream);

/* ---- captures.c ---- */

struct capture {
    struct graph* graph;
    int mode;
    int invalid; /* something happened that CUDA forbids during a capture */
    int ended;
    struct capture* next;
};
enum { cudaStreamCaptureModeRelaxed = 2 };
/* The capture that records what is put on the stream, or 0. */
struct capture* fake_cuda_capture_of(struct stream* stream);
/* An error, which spoils the capture, if one is under way that does not allow this. */
int fake_cuda_forbidden_in_capture(int is_wait);

/* ---- memory.c ---- */

enum { ON_PAGEABLE_HOST = -2, ON_PINNED_HOST = -1 };
/* The device of an address, or one of the two above. */
int fake_cuda_device_of(const void* address);
