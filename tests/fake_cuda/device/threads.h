/* The place of a thread, barriers, exchanges within a warp, and atomic operations. The variables
   and functions in extern "C" are those of native/kernels.c. */
#pragma once

extern "C" {
struct fake_dim {
    unsigned x, y, z;
};
extern fake_dim threadIdx, blockIdx, blockDim, gridDim;
extern char* fake_shared;
extern uint64_t fake_slots[1024];
int fake_thread(void);
void fake_wait(int state);
}
enum { FAKE_AT_WARP_BARRIER = 1, FAKE_AT_BLOCK_BARRIER = 2 };
static const int warpSize = 32;

static inline void __syncthreads() {
    fake_wait(FAKE_AT_BLOCK_BARRIER);
}
static inline void __syncwarp(unsigned = ~0u) {
    fake_wait(FAKE_AT_WARP_BARRIER);
}
static inline void __threadfence() {
}

/* ---- exchanges: each thread of a warp puts a value into its slot and reads those of others ----
 */

static inline int fake_lane() {
    return fake_thread() % warpSize;
}

/* `read` gets the slots of the warp, between two barriers. */
template <class T, class Read> static T fake_exchange(T value, Read read) {
    static_assert(sizeof(T) <= sizeof(uint64_t), "a slot has 8 bytes");
    memcpy(&fake_slots[fake_thread()], &value, sizeof value);
    __syncwarp();
    T result = read((const uint64_t*)fake_slots + fake_thread() - fake_lane());
    __syncwarp();
    return result;
}

/* The value of another lane, or this thread's own if the other is outside. */
template <class T> static T fake_value_of(T value, int lane, bool inside) {
    return fake_exchange(value, [=](const uint64_t* slots) {
        T found = value;
        if (inside)
            memcpy(&found, slots + lane, sizeof found);
        return found;
    });
}
template <class T> static T __shfl_sync(unsigned, T value, int lane, int width = 32) {
    return fake_value_of(value, fake_lane() / width * width + lane % width, true);
}
template <class T> static T __shfl_up_sync(unsigned, T value, unsigned delta, int width = 32) {
    int by = (int)delta;
    return fake_value_of(value, fake_lane() - by, fake_lane() % width >= by);
}
template <class T> static T __shfl_down_sync(unsigned, T value, unsigned delta, int width = 32) {
    int by = (int)delta;
    return fake_value_of(value, fake_lane() + by, fake_lane() % width + by < width);
}
template <class T> static T __shfl_xor_sync(unsigned, T value, int mask, int width = 32) {
    int lane = fake_lane() ^ mask;
    return fake_value_of(value, lane, lane / width <= fake_lane() / width);
}
static inline unsigned __ballot_sync(unsigned mask, int predicate) {
    return fake_exchange<unsigned>(predicate != 0, [=](const uint64_t* slots) {
        unsigned bits = 0;
        for (int lane = 0; lane < warpSize; lane++)
            if (mask >> lane & 1)
                bits |= (unsigned)(slots[lane] & 1) << lane;
        return bits;
    });
}
static inline int __any_sync(unsigned mask, int predicate) {
    return __ballot_sync(mask, predicate) != 0;
}
static inline int __all_sync(unsigned mask, int predicate) {
    return __ballot_sync(mask, predicate) == mask;
}

/* ---- atomic operations: plain ones, because no two threads run at the same time ---- */

template <class T, class U> static T atomicAdd(T* at, U value) {
    T old = *at;
    *at += (T)value;
    return old;
}
template <class T, class U> static T atomicMax(T* at, U value) {
    T old = *at;
    if ((T)value > old)
        *at = (T)value;
    return old;
}
template <class T, class U> static T atomicMin(T* at, U value) {
    T old = *at;
    if ((T)value < old)
        *at = (T)value;
    return old;
}
template <class T, class U> static T atomicExch(T* at, U value) {
    T old = *at;
    *at = (T)value;
    return old;
}
template <class T, class U, class V> static T atomicCAS(T* at, U expected, V value) {
    T old = *at;
    if (old == (T)expected)
        *at = (T)value;
    return old;
}
