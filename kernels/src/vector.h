// Eight floats at a time, in the vector extensions that GCC and Clang share; the compiler picks the instructions.
#pragma once

#include <algorithm>
#include <cstring>

typedef float v8 __attribute__((vector_size(32)));
typedef int i8 __attribute__((vector_size(32)));

constexpr long LANES = 8;

static inline v8 load(const float* from) {
    v8 value;
    std::memcpy(&value, from, sizeof(value));
    return value;
}

static inline void store(float* to, v8 value) { std::memcpy(to, &value, sizeof(value)); }

// floats from `from`, zero beyond `width`
static inline v8 some(const float* from, long width) {
    if (width >= LANES) return load(from);
    float padded[LANES] = {};
    if (width > 0) std::copy(from, from + width, padded);
    return load(padded);
}

static inline void put(float* to, v8 value, long width) {
    if (width >= LANES) return store(to, value);
    float padded[LANES];
    store(padded, value);
    if (width > 0) std::copy(padded, padded + width, to);
}

static inline v8 spread(float value) { return v8{value, value, value, value, value, value, value, value}; }

// exp(x) to about two units in the last place: 2^n times a polynomial on [-ln 2 / 2, ln 2 / 2]; NaN stays NaN
static inline v8 exponential(v8 x) {
    const v8 low = spread(-87.0f), high = spread(88.0f);
    x = x < low ? low : x;
    x = x > high ? high : x;
    // adding and taking off 1.5 * 2^23 rounds to a whole number
    const v8 magic = spread(12582912.0f);
    const v8 n = (x * 1.44269504088896341f + magic) - magic;
    const v8 r = (x - n * 0.693145751953125f) - n * 1.42860682030941723e-6f;
    v8 p = spread(1.0f / 720);
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    const i8 exponent = (__builtin_convertvector(n, i8) + 127) << 23;
    v8 scale;
    std::memcpy(&scale, &exponent, sizeof(scale));
    return p * scale;
}

static inline float sum_of(v8 value) {
    float sum = 0;
    for (long lane = 0; lane < LANES; ++lane) sum += value[lane];
    return sum;
}

// lanes of two vectors, by number: those of the second follow those of the first; Clang and older GCCs differ in names
#if defined(__clang__)
#define EVONAS_LANES(x, y, ...) __builtin_shufflevector(x, y, __VA_ARGS__)
#else
#define EVONAS_LANES(x, y, ...) __builtin_shuffle(x, y, i8{__VA_ARGS__})
#endif

// the sums of eight vectors, by additions of neighbours, pairs and halves
static inline v8 sums_of(const v8* x) {
    v8 pairs[4], fours[2];
    for (int i = 0; i < 4; ++i) {
        const v8 one = x[2 * i], other = x[2 * i + 1];
        pairs[i] = EVONAS_LANES(one, other, 0, 8, 2, 10, 4, 12, 6, 14) +
                   EVONAS_LANES(one, other, 1, 9, 3, 11, 5, 13, 7, 15);
    }
    for (int i = 0; i < 2; ++i) {
        const v8 one = pairs[2 * i], other = pairs[2 * i + 1];
        fours[i] = EVONAS_LANES(one, other, 0, 1, 8, 9, 4, 5, 12, 13) +
                   EVONAS_LANES(one, other, 2, 3, 10, 11, 6, 7, 14, 15);
    }
    return EVONAS_LANES(fours[0], fours[1], 0, 1, 2, 3, 8, 9, 10, 11) +
           EVONAS_LANES(fours[0], fours[1], 4, 5, 6, 7, 12, 13, 14, 15);
}
