/* Devices, their properties, the driver's contexts, and errors. */
#include "fake_cuda.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    CUDA_VERSION = 12090,
    MAX_THREADS_PER_BLOCK = 1024,
    SHARED_MEMORY_PER_BLOCK = 49152,
    TOTAL_CONSTANT_MEMORY = 65536,
    WARP_SIZE = 32,
    /* those of an H100, because CuPy chooses its grids by them */
    MULTIPROCESSORS = 132,
    COMPUTE_CAPABILITY_MAJOR = 9,
};
static const size_t DEVICE_MEMORY = (size_t)8 << 30;
static const char DEVICE_NAME[] = "stand-in CUDA device (CPU)";

int fake_cuda_device_count = 1;
__thread int fake_cuda_current_device = 0;
static __thread int last_error = cudaSuccess;

__attribute__((constructor)) static void count_devices(void) {
    const char* count = getenv("FAKE_CUDA_DEVICES");
    if (count)
        fake_cuda_device_count = atoi(count);
}

int fake_cuda_device(void) {
    return fake_cuda_current_device;
}

/* ---- errors ---- */

int fake_cuda_fail(int error) {
    last_error = error;
    return error;
}

/* Called in the place of each function that is not emulated. */
int fake_cuda_unsupported(const char* name) {
    fprintf(stderr, "fake_cuda: %s is not emulated\n", name);
    return fake_cuda_fail(cudaErrorNotSupported);
}

#define NAME(error)                                                                                \
    case error:                                                                                    \
        return #error

const char* fake_cudaGetErrorName(int error) {
    switch (error) {
        NAME(cudaSuccess);
        NAME(cudaErrorInvalidValue);
        NAME(cudaErrorMemoryAllocation);
        NAME(cudaErrorNoDevice);
        NAME(cudaErrorInvalidDevice);
        NAME(cudaErrorInvalidResourceHandle);
        NAME(cudaErrorSymbolNotFound);
        NAME(cudaErrorNotReady);
        NAME(cudaErrorNotSupported);
        NAME(cudaErrorStreamCaptureUnsupported);
        NAME(cudaErrorStreamCaptureInvalidated);
        NAME(cudaErrorStreamCaptureUnmatched);
        NAME(cudaErrorStreamCaptureImplicit);
        NAME(cudaErrorCapturedEvent);
    default:
        return "unknown error";
    }
}

const char* fake_cudaGetErrorString(int error) {
    (void)error;
    return "from the stand-in CUDA device (CPU)";
}

int fake_cudaGetLastError(void) {
    int error = last_error;
    last_error = cudaSuccess;
    return error;
}

int cuGetErrorName(int error, const char** name) {
    *name = fake_cudaGetErrorName(error);
    return cudaSuccess;
}

int cuGetErrorString(int error, const char** text) {
    *text = fake_cudaGetErrorString(error);
    return cudaSuccess;
}

/* ---- devices ---- */

static int is_device(int device) {
    return device >= 0 && device < fake_cuda_device_count;
}

int fake_cudaGetDeviceCount(int* count) {
    *count = fake_cuda_device_count;
    return fake_cuda_device_count ? cudaSuccess : fake_cuda_fail(cudaErrorNoDevice);
}

int fake_cudaGetDevice(int* device) {
    *device = fake_cuda_current_device;
    return cudaSuccess;
}

int fake_cudaSetDevice(int device) {
    if (!is_device(device))
        return fake_cuda_fail(cudaErrorInvalidDevice);
    fake_cuda_current_device = device;
    return cudaSuccess;
}

int fake_cudaRuntimeGetVersion(int* version) {
    *version = CUDA_VERSION;
    return cudaSuccess;
}

int fake_cudaDriverGetVersion(int* version) {
    *version = CUDA_VERSION;
    return cudaSuccess;
}

int fake_cudaDeviceGetAttribute(int* value, int attribute, int device) {
    /* numbers of enum cudaDeviceAttr, without its prefix cudaDevAttr */
    enum {
        MaxThreadsPerBlock = 1,
        MaxBlockDimX = 2,
        MaxBlockDimY = 3,
        MaxBlockDimZ = 4,
        MaxGridDimX = 5,
        MaxGridDimY = 6,
        MaxGridDimZ = 7,
        MaxSharedMemoryPerBlock = 8,
        WarpSize = 10,
        MultiProcessorCount = 16,
        ComputeCapabilityMajor = 75,
    };
    if (!is_device(device))
        return fake_cuda_fail(cudaErrorInvalidDevice);
    switch (attribute) {
    case MaxThreadsPerBlock:
    case MaxBlockDimX:
    case MaxBlockDimY:
        *value = MAX_THREADS_PER_BLOCK;
        break;
    case MaxBlockDimZ:
        *value = 64;
        break;
    case MaxGridDimX:
        *value = 2147483647;
        break;
    case MaxGridDimY:
    case MaxGridDimZ:
        *value = 65535;
        break;
    case MaxSharedMemoryPerBlock:
        *value = SHARED_MEMORY_PER_BLOCK;
        break;
    case WarpSize:
        *value = WARP_SIZE;
        break;
    case MultiProcessorCount:
        *value = MULTIPROCESSORS;
        break;
    case ComputeCapabilityMajor:
        *value = COMPUTE_CAPABILITY_MAJOR;
        break;
    default:
        *value = 0;
    }
    return cudaSuccess;
}

/* The start of CUDA 12's struct cudaDeviceProp; what follows is zero. */
struct properties {
    char name[256];
    char uuid_and_luid[32];
    size_t total_memory;
    size_t shared_memory_per_block;
    int registers_per_block;
    int warp_size;
    size_t memory_pitch;
    int max_threads_per_block;
    int max_block[3];
    int max_grid[3];
    int clock_rate;
    size_t total_constant_memory;
    int major;
    int minor;
    size_t texture_alignment[2];
    int device_overlap;
    int multiprocessors;
    char rest[1032 - 392];
};
_Static_assert(sizeof(struct properties) == 1032, "CUDA 12's struct has this size");

int fake_cudaGetDeviceProperties_v2(struct properties* properties, int device) {
    if (!is_device(device))
        return fake_cuda_fail(cudaErrorInvalidDevice);
    *properties = (struct properties){
        .total_memory = DEVICE_MEMORY,
        .shared_memory_per_block = SHARED_MEMORY_PER_BLOCK,
        .warp_size = WARP_SIZE,
        .max_threads_per_block = MAX_THREADS_PER_BLOCK,
        .total_constant_memory = TOTAL_CONSTANT_MEMORY,
        .major = COMPUTE_CAPABILITY_MAJOR,
        .multiprocessors = MULTIPROCESSORS,
    };
    strcpy(properties->name, DEVICE_NAME);
    return cudaSuccess;
}

int fake_cudaMemGetInfo(size_t* free_bytes, size_t* total_bytes) {
    *free_bytes = DEVICE_MEMORY;
    *total_bytes = DEVICE_MEMORY;
    return cudaSuccess;
}

int fake_cudaDeviceGetPCIBusId(char* text, int size, int device) {
    snprintf(text, size, "0000:%02x:00.0", device);
    return cudaSuccess;
}

int fake_cudaDeviceCanAccessPeer(int* answer, int device, int peer) {
    (void)device;
    (void)peer;
    *answer = 0;
    return cudaSuccess;
}

int fake_cudaProfilerStart(void) {
    return cudaSuccess;
}

int fake_cudaProfilerStop(void) {
    return cudaSuccess;
}

/* ---- the driver: a context is the number of its device plus 1, so that it is not null ---- */

static void* context(int device) {
    return (void*)(uintptr_t)(device + 1);
}

int cuInit(unsigned flags) {
    (void)flags;
    return cudaSuccess;
}

int cuDriverGetVersion(int* version) {
    return fake_cudaDriverGetVersion(version);
}

int cuCtxGetCurrent(void** found) {
    *found = context(fake_cuda_current_device);
    return cudaSuccess;
}

int cuCtxSetCurrent(void* wanted) {
    return fake_cudaSetDevice((int)(uintptr_t)wanted - 1);
}

int cuCtxGetDevice(int* device) {
    *device = fake_cuda_current_device;
    return cudaSuccess;
}

int cuDevicePrimaryCtxRelease_v2(int device) {
    (void)device;
    return cudaSuccess;
}

int cuDevicePrimaryCtxRelease(int device) {
    return cuDevicePrimaryCtxRelease_v2(device);
}

int cuStreamGetCtx(struct stream* stream, void** found) {
    int own = fake_cuda_is_own_stream(stream);
    *found = context(own ? fake_cuda_current_device : stream->device);
    return cudaSuccess;
}
