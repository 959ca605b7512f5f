/* Memory of the devices and pinned memory, both from the heap; copies between them. */
#include "fake_cuda.h"

#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 512 }; /* CUDA's allocations have this one */

struct block {
    char* address;
    size_t size;
    int device; /* or ON_PINNED_HOST */
    struct block* next;
};
static struct block* blocks;

int fake_cuda_device_of(const void* address) {
    const char* wanted = address;
    int device = ON_PAGEABLE_HOST;
    pthread_mutex_lock(&fake_cuda_lock);
    for (struct block* block = blocks; block; block = block->next) {
        if (wanted >= block->address && wanted < block->address + block->size) {
            device = block->device;
            break;
        }
    }
    pthread_mutex_unlock(&fake_cuda_lock);
    return device;
}

int fake_cudaPointerGetAttributes(void* attributes, const void* pointer) {
    enum { cudaMemoryTypeUnregistered = 0, cudaMemoryTypeHost = 1, cudaMemoryTypeDevice = 2 };
    struct {
        int type;
        int device;
        const void* device_pointer;
        const void* host_pointer;
    }* answer = attributes;
    int device = fake_cuda_device_of(pointer);
    if (device == ON_PAGEABLE_HOST)
        answer->type = cudaMemoryTypeUnregistered;
    else
        answer->type = device == ON_PINNED_HOST ? cudaMemoryTypeHost : cudaMemoryTypeDevice;
    answer->device = device < 0 ? fake_cuda_current_device : device;
    answer->device_pointer = pointer;
    answer->host_pointer = device < 0 ? pointer : 0;
    return cudaSuccess;
}

/* ---- allocation ---- */

static int allocate(void** pointer, size_t size, int device) {
    /* a block more than is asked for, so that an empty allocation has an address of its own */
    *pointer = aligned_alloc(ALIGNMENT, (size / ALIGNMENT + 1) * ALIGNMENT);
    if (!*pointer)
        return fake_cuda_fail(cudaErrorMemoryAllocation);
    if (device >= 0)
        memset(*pointer, 0xff, size); /* NaN in every format: shows what is read before written */
    struct block* block = malloc(sizeof *block);
    *block = (struct block){*pointer, size ? size : 1, device, 0};
    pthread_mutex_lock(&fake_cuda_lock);
    block->next = blocks;
    blocks = block;
    pthread_mutex_unlock(&fake_cuda_lock);
    return cudaSuccess;
}

static int release(void* pointer) {
    if (!pointer)
        return cudaSuccess;
    fake_cuda_catch_up(); /* late work may use it */
    pthread_mutex_lock(&fake_cuda_lock);
    struct block** at = &blocks;
    while (*at && (*at)->address != pointer)
        at = &(*at)->next;
    struct block* found = *at;
    if (found) {
        *at = found->next;
        free(found->address);
        free(found);
    }
    pthread_mutex_unlock(&fake_cuda_lock);
    return found ? cudaSuccess : fake_cuda_fail(cudaErrorInvalidValue);
}

int fake_cudaMalloc(void** pointer, size_t size) {
    fake_cuda_log("malloc %zu", size);
    int error = fake_cuda_forbidden_in_capture(0);
    return error ? error : allocate(pointer, size, fake_cuda_current_device);
}

int fake_cudaMallocAsync(void** pointer, size_t size, struct stream* stream) {
    (void)stream;
    fake_cuda_log("malloc %zu", size);
    return allocate(pointer, size, fake_cuda_current_device);
}

int fake_cudaMallocManaged(void** pointer, size_t size, unsigned flags) {
    (void)flags;
    return fake_cudaMalloc(pointer, size);
}

int fake_cudaHostAlloc(void** pointer, size_t size, unsigned flags) {
    (void)flags;
    fake_cuda_log("pinned %zu", size);
    int error = fake_cuda_forbidden_in_capture(0);
    return error ? error : allocate(pointer, size, ON_PINNED_HOST);
}

int fake_cudaFree(void* pointer) {
    int error = fake_cuda_forbidden_in_capture(0);
    return error ? error : release(pointer);
}

int fake_cudaFreeAsync(void* pointer, struct stream* stream) {
    (void)stream;
    return release(pointer);
}

int fake_cudaFreeHost(void* pointer) {
    return release(pointer);
}

/* ---- copies ---- */

enum cudaMemcpyKind {
    cudaMemcpyHostToHost = 0,
    cudaMemcpyHostToDevice = 1,
    cudaMemcpyDeviceToHost = 2,
    cudaMemcpyDeviceToDevice = 3,
    cudaMemcpyDefault = 4,
};
static const char* const KIND_NAMES[] = {"h2h", "h2d", "d2h", "d2d"};

struct copy {
    char* to;
    const char* from;
    size_t size;
    char held[]; /* the bytes themselves, for run_held_copy */
};

static void run_copy(void* data) {
    struct copy* copy = data;
    memmove(copy->to, copy->from, copy->size);
}

static void run_held_copy(void* data) {
    struct copy* copy = data;
    memcpy(copy->to, copy->held, copy->size);
}

static int enqueue_held(struct stream* stream, const struct copy* copy) {
    size_t size = sizeof *copy + copy->size;
    struct copy* held = malloc(size);
    *held = *copy;
    memcpy(held->held, copy->from, copy->size);
    int error = fake_cuda_enqueue(stream, run_held_copy, held, size);
    free(held);
    return error;
}

static int copy_bytes(void* to, const void* from, size_t size, enum cudaMemcpyKind kind,
                      struct stream* stream, int wait) {
    int target = fake_cuda_device_of(to);
    int source = fake_cuda_device_of(from);
    if (kind == cudaMemcpyDefault)
        kind = (target >= 0 ? cudaMemcpyHostToDevice : 0) +
               (source >= 0 ? cudaMemcpyDeviceToHost : 0); /* both make device to device */
    int to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    int from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    if (size && ((to_device && target < 0) || (from_device && source < 0)))
        return fake_cuda_fail(cudaErrorInvalidValue);
    fake_cuda_log("copy %s %zu %s", KIND_NAMES[kind], size, wait ? "sync" : "async");
    int error = wait ? fake_cuda_forbidden_in_capture(0) : cudaSuccess;
    if (error)
        return error;

    int captured = fake_cuda_capture_of(stream) != 0;
    struct copy copy = {to, from, size};
    /* From pageable memory CUDA reads before it returns, so the host may change it at once. */
    if (fake_cuda_late && source == ON_PAGEABLE_HOST && !wait && !captured)
        error = enqueue_held(stream, &copy);
    else
        error = fake_cuda_enqueue(stream, run_copy, &copy, sizeof copy);
    /* To pageable memory CUDA waits even if it is asked not to. */
    if (wait || (target == ON_PAGEABLE_HOST && !captured))
        fake_cuda_catch_up();
    return error;
}

int fake_cudaMemcpy(void* to, const void* from, size_t size, int kind) {
    return copy_bytes(to, from, size, kind, 0, 1);
}

int fake_cudaMemcpyAsync(void* to, const void* from, size_t size, int kind, struct stream* stream) {
    return copy_bytes(to, from, size, kind, stream, 0);
}

int fake_cudaMemcpyPeer(void* to, int target, const void* from, int source, size_t size) {
    (void)target;
    (void)source;
    return copy_bytes(to, from, size, cudaMemcpyDeviceToDevice, 0, 1);
}

int fake_cudaMemcpyPeerAsync(void* to, int target, const void* from, int source, size_t size,
                             struct stream* stream) {
    (void)target;
    (void)source;
    return copy_bytes(to, from, size, cudaMemcpyDeviceToDevice, stream, 0);
}

struct fill {
    char* to;
    int value;
    size_t size;
};

static void run_fill(void* data) {
    struct fill* fill = data;
    memset(fill->to, fill->value, fill->size);
}

int fake_cudaMemsetAsync(void* to, int value, size_t size, struct stream* stream) {
    struct fill fill = {to, value, size};
    fake_cuda_log("memset %zu", size);
    return fake_cuda_enqueue(stream, run_fill, &fill, sizeof fill);
}

int fake_cudaMemset(void* to, int value, size_t size) {
    return fake_cudaMemsetAsync(to, value, size, 0);
}
