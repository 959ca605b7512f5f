/* libcublas.so.12: the products that CuPy calls, in float32 and float64. TF32 and the emulation of
   float64 are ignored. The build adds a refusal for every other function that CuPy names. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

/* from libcuda.so.1 */
void fake_cuda_log(const char* format, ...) __attribute__((format(printf, 1, 2)));
int fake_cuda_enqueue(void* stream, void (*run)(void*), void* data, size_t size);
int fake_cuda_device(void);
int fake_cuda_device_of(const void* address);

enum cublasStatus {
    CUBLAS_STATUS_SUCCESS = 0,
    CUBLAS_STATUS_EXECUTION_FAILED = 13,
    CUBLAS_STATUS_NOT_SUPPORTED = 15,
};
enum cudaDataType { CUDA_R_32F = 0, CUDA_R_64F = 1 };

struct handle {
    void* stream;
    int pointer_mode; /* not 0: alpha and beta lie on the device */
    int math_mode;
    int device;
};

struct product {
    int type;
    int transpose_a, transpose_b;
    int m, n, k;
    const void* A;
    int lda;
    const void* B;
    int ldb;
    void* C;
    int ldc;
    /* a batch: either the matrices lie this many entries apart, or A, B and C are arrays of
       pointers on the device */
    int count;
    ptrdiff_t stride_a, stride_b, stride_c;
    int are_pointers;
    double alpha, beta;
};

#define REAL float
#define MULTIPLY multiply_float
#include "multiply.h"
#undef REAL
#undef MULTIPLY
#define REAL double
#define MULTIPLY multiply_double
#include "multiply.h"

static const void* matrix(const struct product* p, const void* start, ptrdiff_t stride, int i) {
    if (p->are_pointers)
        return ((void* const*)start)[i];
    size_t size = p->type == CUDA_R_32F ? sizeof(float) : sizeof(double);
    return (const char*)start + i * stride * (ptrdiff_t)size;
}

static void run_product(void* data) {
    const struct product* p = data;
    for (int i = 0; i < p->count; i++) {
        const void* A = matrix(p, p->A, p->stride_a, i);
        const void* B = matrix(p, p->B, p->stride_b, i);
        void* C = (void*)matrix(p, p->C, p->stride_c, i);
        if (p->type == CUDA_R_32F)
            multiply_float(p, A, B, C);
        else
            multiply_double(p, A, B, C);
    }
}

static struct product plain(int type, int transpose_a, int transpose_b, int m, int n, int k,
                            const void* A, int lda, const void* B, int ldb, void* C, int ldc) {
    return (struct product){
        .type = type,
        .transpose_a = transpose_a,
        .transpose_b = transpose_b,
        .m = m,
        .n = n,
        .k = k,
        .A = A,
        .lda = lda,
        .B = B,
        .ldb = ldb,
        .C = C,
        .ldc = ldc,
        .count = 1,
    };
}

/* alpha and beta have the type of the matrices. */
static int enqueue(struct handle* handle, const char* name, struct product p, const void* alpha,
                   const void* beta) {
    int device = fake_cuda_device();
    if (handle->pointer_mode)
        return CUBLAS_STATUS_NOT_SUPPORTED;
    int single = p.type == CUDA_R_32F;
    p.alpha = single ? *(const float*)alpha : *(const double*)alpha;
    p.beta = single ? *(const float*)beta : *(const double*)beta;
    /* a matrix on another device, or on the host, cannot be read */
    if (handle->device != device || fake_cuda_device_of(p.A) != device ||
        fake_cuda_device_of(p.B) != device || fake_cuda_device_of(p.C) != device)
        return CUBLAS_STATUS_EXECUTION_FAILED;
    fake_cuda_log("product %s %s %dx%dx%d x%d", name, single ? "float32" : "float64", p.m, p.n, p.k,
                  p.count);
    int error = fake_cuda_enqueue(handle->stream, run_product, &p, sizeof p);
    return error ? CUBLAS_STATUS_EXECUTION_FAILED : CUBLAS_STATUS_SUCCESS;
}

int cublasGemmStridedBatchedEx(struct handle* handle, int transpose_a, int transpose_b, int m,
                               int n, int k, const void* alpha, const void* A, int type_a, int lda,
                               long long stride_a, const void* B, int type_b, int ldb,
                               long long stride_b, const void* beta, void* C, int type_c, int ldc,
                               long long stride_c, int count, int compute, int algorithm) {
    enum { CUBLAS_COMPUTE_64F = 70, CUBLAS_COMPUTE_64F_PEDANTIC = 71 };
    (void)algorithm;
    if (type_a > CUDA_R_64F || type_b != type_a || type_c != type_a)
        return CUBLAS_STATUS_NOT_SUPPORTED;
    /* CUDA 10 has a cudaDataType in the place of the kind of computation */
    int computes_in_double = compute == CUBLAS_COMPUTE_64F ||
                             compute == CUBLAS_COMPUTE_64F_PEDANTIC || compute == CUDA_R_64F;
    if (computes_in_double != (type_a == CUDA_R_64F))
        return CUBLAS_STATUS_NOT_SUPPORTED;
    struct product p = plain(type_a, transpose_a, transpose_b, m, n, k, A, lda, B, ldb, C, ldc);
    p.count = count;
    p.stride_a = stride_a;
    p.stride_b = stride_b;
    p.stride_c = stride_c;
    return enqueue(handle, "gemmEx", p, alpha, beta);
}

int cublasGemmEx(struct handle* handle, int transpose_a, int transpose_b, int m, int n, int k,
                 const void* alpha, const void* A, int type_a, int lda, const void* B, int type_b,
                 int ldb, const void* beta, void* C, int type_c, int ldc, int compute,
                 int algorithm) {
    return cublasGemmStridedBatchedEx(handle, transpose_a, transpose_b, m, n, k, alpha, A, type_a,
                                      lda, 0, B, type_b, ldb, 0, beta, C, type_c, ldc, 0, 1,
                                      compute, algorithm);
}

int cublasSgemm_v2(struct handle* handle, int transpose_a, int transpose_b, int m, int n, int k,
                   const float* alpha, const float* A, int lda, const float* B, int ldb,
                   const float* beta, float* C, int ldc) {
    struct product p = plain(CUDA_R_32F, transpose_a, transpose_b, m, n, k, A, lda, B, ldb, C, ldc);
    return enqueue(handle, "sgemm", p, alpha, beta);
}

int cublasDgemm_v2(struct handle* handle, int transpose_a, int transpose_b, int m, int n, int k,
                   const double* alpha, const double* A, int lda, const double* B, int ldb,
                   const double* beta, double* C, int ldc) {
    struct product p = plain(CUDA_R_64F, transpose_a, transpose_b, m, n, k, A, lda, B, ldb, C, ldc);
    return enqueue(handle, "dgemm", p, alpha, beta);
}

int cublasSgemmBatched(struct handle* handle, int transpose_a, int transpose_b, int m, int n, int k,
                       const float* alpha, const void* A, int lda, const void* B, int ldb,
                       const float* beta, void* C, int ldc, int count) {
    struct product p = plain(CUDA_R_32F, transpose_a, transpose_b, m, n, k, A, lda, B, ldb, C, ldc);
    p.count = count;
    p.are_pointers = 1;
    return enqueue(handle, "sgemmBatched", p, alpha, beta);
}

int cublasDgemmBatched(struct handle* handle, int transpose_a, int transpose_b, int m, int n, int k,
                       const double* alpha, const void* A, int lda, const void* B, int ldb,
                       const double* beta, void* C, int ldc, int count) {
    struct product p = plain(CUDA_R_64F, transpose_a, transpose_b, m, n, k, A, lda, B, ldb, C, ldc);
    p.count = count;
    p.are_pointers = 1;
    return enqueue(handle, "dgemmBatched", p, alpha, beta);
}

int cublasCreate_v2(struct handle** created) {
    *created = calloc(1, sizeof **created);
    (*created)->device = fake_cuda_device();
    return CUBLAS_STATUS_SUCCESS;
}

int cublasDestroy_v2(struct handle* handle) {
    free(handle);
    return CUBLAS_STATUS_SUCCESS;
}

int cublasGetVersion_v2(struct handle* handle, int* version) {
    (void)handle;
    *version = 120900;
    return CUBLAS_STATUS_SUCCESS;
}

int cublasSetStream_v2(struct handle* handle, void* stream) {
    handle->stream = stream;
    return CUBLAS_STATUS_SUCCESS;
}

int cublasGetStream_v2(struct handle* handle, void** stream) {
    *stream = handle->stream;
    return CUBLAS_STATUS_SUCCESS;
}

int cublasSetWorkspace_v2(struct handle* handle, void* workspace, size_t size) {
    (void)size;
    if (workspace && fake_cuda_device_of(workspace) != handle->device)
        return CUBLAS_STATUS_EXECUTION_FAILED;
    return CUBLAS_STATUS_SUCCESS;
}

int cublasSetPointerMode_v2(struct handle* handle, int mode) {
    handle->pointer_mode = mode;
    return CUBLAS_STATUS_SUCCESS;
}

int cublasGetPointerMode_v2(struct handle* handle, int* mode) {
    *mode = handle->pointer_mode;
    return CUBLAS_STATUS_SUCCESS;
}

int cublasSetMathMode(struct handle* handle, int mode) {
    handle->math_mode = mode;
    return CUBLAS_STATUS_SUCCESS;
}

int cublasGetMathMode(struct handle* handle, int* mode) {
    *mode = handle->math_mode;
    return CUBLAS_STATUS_SUCCESS;
}

int fake_cublas_unsupported(const char* name) {
    fprintf(stderr, "fake_cuda: %s is not emulated\n", name);
    return CUBLAS_STATUS_NOT_SUPPORTED;
}
