/* CUDA C++ has this and g++ lacks it. Every kernel's source is compiled after it, see
   python/fake_cuda_kernels.py. */
#pragma once
#include <algorithm>
#include <float.h>
#include <immintrin.h>
#include <initializer_list>
#include <limits.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <type_traits>
#include <utility>

#define __CUDACC_VER_MAJOR__ 12
#define __device__
#define __global__
#define __host__
#define __constant__
#define __shared__ static /* one set is enough: the blocks run one after another */
#define __restrict__
#define __forceinline__ inline
#define __noinline__
#define __launch_bounds__(...)
#define __align__(bytes) alignas(bytes)

#include "threads.h"
#include "numbers.h"
#include "short_floats.h"
#include "entry.h"

/* CuPy's headers name this type; complex numbers are not emulated. */
template <class T> struct complex {
    T re, im;
    complex(T r = 0, T i = 0) : re(r), im(i) {
    }
    T real() const {
        return re;
    }
    T imag() const {
        return im;
    }
};
