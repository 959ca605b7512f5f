/* Functions on numbers that CUDA has and the C library lacks. */
#pragma once

using std::isfinite;
using std::isinf;
using std::isnan;
using std::max;
using std::min;
using std::signbit;

/* ---- bits ---- */

static inline int __popc(unsigned x) {
    return __builtin_popcount(x);
}
static inline int __popcll(unsigned long long x) {
    return __builtin_popcountll(x);
}
static inline int __clz(int x) {
    return x ? __builtin_clz(x) : 32;
}
static inline int __clzll(long long x) {
    return x ? __builtin_clzll(x) : 64;
}
static inline int __ffs(int x) {
    return __builtin_ffs(x);
}

template <class To, class From> static To fake_bits(From from) {
    static_assert(sizeof(To) == sizeof(From), "the bits of one are those of the other");
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}
static inline float __int_as_float(int bits) {
    return fake_bits<float>(bits);
}
static inline float __uint_as_float(unsigned bits) {
    return fake_bits<float>(bits);
}
static inline int __float_as_int(float x) {
    return fake_bits<int>(x);
}
static inline unsigned __float_as_uint(float x) {
    return fake_bits<unsigned>(x);
}
static inline double __longlong_as_double(long long bits) {
    return fake_bits<double>(bits);
}
static inline long long __double_as_longlong(double x) {
    return fake_bits<long long>(x);
}
static inline double __hiloint2double(int high, int low) {
    return fake_bits<double>((uint64_t)(unsigned)high << 32 | (unsigned)low);
}
static inline int __double2hiint(double x) {
    return (int)(fake_bits<uint64_t>(x) >> 32);
}
static inline int __double2loint(double x) {
    return (int)fake_bits<uint64_t>(x);
}

/* ---- arithmetic ---- */

static inline float __fadd_rn(float a, float b) {
    return a + b;
}
static inline float __fmul_rn(float a, float b) {
    return a * b;
}
static inline float __fmaf_rn(float a, float b, float c) {
    return fmaf(a, b, c);
}
static inline double __dadd_rn(double a, double b) {
    return a + b;
}
static inline double __dmul_rn(double a, double b) {
    return a * b;
}
static inline double __fma_rn(double a, double b, double c) {
    return fma(a, b, c);
}
static inline float rsqrtf(float x) {
    return 1 / sqrtf(x);
}
static inline float rsqrt(float x) {
    return rsqrtf(x);
}
static inline double rsqrt(double x) {
    return 1 / sqrt(x);
}
static inline double normcdf(double x) {
    return erfc(-x * M_SQRT1_2) / 2;
}
