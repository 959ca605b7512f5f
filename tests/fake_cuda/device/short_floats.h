/* float16 and bfloat16: they are stored and converted only, because CuPy computes with them in
   float32. */
#pragma once

struct __half_raw {
    unsigned short x;
};
struct __nv_bfloat16_raw {
    unsigned short x;
};

/* The processor converts float16, with its instructions F16C, and rounds to nearest (mode 0). */
__attribute__((target("f16c"))) static inline float fake_from_half(unsigned short bits) {
    return _cvtsh_ss(bits);
}
__attribute__((target("f16c"))) static inline unsigned short fake_to_half(float x) {
    return _cvtss_sh(x, 0);
}

/* bfloat16 is the upper half of a float32, rounded to nearest, ties to even. */
static inline float fake_from_bfloat16(unsigned short bits) {
    return fake_bits<float>((unsigned)bits << 16);
}
static inline unsigned short fake_to_bfloat16(float x) {
    unsigned bits = fake_bits<unsigned>(x);
    if (x != x)
        return bits >> 16 | 0x40; /* stays NaN if only the lower half says so */
    unsigned last_kept_bit = bits >> 16 & 1;
    return (bits + 0x7fff + last_kept_bit) >> 16;
}

#define FAKE_SHORT_FLOAT(NAME, RAW, FROM_BITS, TO_BITS)                                            \
    struct NAME {                                                                                  \
        unsigned short bits;                                                                       \
        NAME() {                                                                                   \
        }                                                                                          \
        NAME(float x) : bits(TO_BITS(x)) {                                                         \
        }                                                                                          \
        NAME(const RAW& raw) : bits(raw.x) {                                                       \
        }                                                                                          \
        operator RAW() const {                                                                     \
            return {bits};                                                                         \
        }                                                                                          \
        operator float() const {                                                                   \
            return FROM_BITS(bits);                                                                \
        }                                                                                          \
    };
FAKE_SHORT_FLOAT(half, __half_raw, fake_from_half, fake_to_half)
FAKE_SHORT_FLOAT(__nv_bfloat16, __nv_bfloat16_raw, fake_from_bfloat16, fake_to_bfloat16)

static inline half __ushort_as_half(unsigned short bits) {
    return __half_raw{bits};
}
static inline unsigned short __half_as_ushort(half x) {
    return x.bits;
}
static inline float __half2float(half x) {
    return x;
}
static inline half __float2half_rn(float x) {
    return half(x);
}
static inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits) {
    return __nv_bfloat16_raw{bits};
}
static inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 x) {
    return x.bits;
}
static inline float __bfloat162float(__nv_bfloat16 x) {
    return x;
}
static inline __nv_bfloat16 __float2bfloat16_rn(float x) {
    return __nv_bfloat16(x);
}
