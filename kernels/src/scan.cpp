// The selective scan with one state per channel: h_l = exp(dt_l a) h_(l-1) + dt_l b_l x_l, for float32.
//
// Tokens follow one another, channels do not depend on each other: a block of channels walks along all tokens with its
// states in registers. Tensors are batch, tokens, channels without gaps; b has no channels.

#include "vector.h"

#include <algorithm>

namespace {

constexpr long BLOCK = 4 * LANES;

struct Walk {
    const float *x, *dt, *a, *b;
    long tokens, channels, first, width;
};

struct Inputs {
    const float *x, *dt, *a, *b;
};

Walk walk_of(const Inputs& all, long item, long block, long tokens, long channels) {
    const long offset = item * tokens * channels, first = block * BLOCK;
    return Walk{all.x + offset, all.dt + offset, all.a, all.b + item * tokens,
                tokens, channels, first, std::min(BLOCK, channels - first)};
}

void forward(const Walk& walk, float* h) {
    v8 state[BLOCK / LANES] = {}, rate[BLOCK / LANES];
    for (long v = 0; v < BLOCK / LANES; ++v) rate[v] = some(walk.a + walk.first + v * LANES, walk.width - v * LANES);
    for (long l = 0; l < walk.tokens; ++l) {
        const long row = l * walk.channels + walk.first;
        for (long v = 0; v < BLOCK / LANES; ++v) {
            const long at = row + v * LANES, left = walk.width - v * LANES;
            if (left <= 0) break;
            const v8 step = some(walk.dt + at, left);
            state[v] = exponential(step * rate[v]) * state[v] + step * walk.b[l] * some(walk.x + at, left);
            put(h + at, state[v], left);
        }
    }
}

struct Slopes {
    float *x, *dt, *a, *b;
};

// Walks from the last token to the first with the slope g of the state; `to.b` has a row of tokens for each block.
void backward(const Walk& walk, const float* h, const float* slope, const Slopes& to) {
    v8 g[BLOCK / LANES] = {}, rate[BLOCK / LANES], of_rate[BLOCK / LANES] = {};
    for (long v = 0; v < BLOCK / LANES; ++v) rate[v] = some(walk.a + walk.first + v * LANES, walk.width - v * LANES);
    for (long l = walk.tokens - 1; l >= 0; --l) {
        const long row = l * walk.channels + walk.first;
        v8 of_b = {};
        for (long v = 0; v < BLOCK / LANES; ++v) {
            const long at = row + v * LANES, left = walk.width - v * LANES;
            if (left <= 0) break;
            const v8 step = some(walk.dt + at, left), value = some(walk.x + at, left);
            const v8 decay = exponential(step * rate[v]);
            const v8 before = l ? some(h + at - walk.channels, left) : v8{};
            g[v] += some(slope + at, left);
            const v8 of_exponent = g[v] * decay * before;
            put(to.x + at, g[v] * step * walk.b[l], left);
            put(to.dt + at, of_exponent * rate[v] + g[v] * walk.b[l] * value, left);
            of_rate[v] += of_exponent * step;
            of_b += g[v] * step * value;
            g[v] = g[v] * decay;
        }
        to.b[l] = sum_of(of_b);
    }
    for (long v = 0; v < BLOCK / LANES; ++v) put(to.a + walk.first + v * LANES, of_rate[v], walk.width - v * LANES);
}

}  // namespace

extern "C" long evonas_scan_blocks(long channels) { return (channels + BLOCK - 1) / BLOCK; }

extern "C" void evonas_scan(const float* x, const float* dt, const float* a, const float* b, float* h, long batch,
                            long tokens, long channels, int threads) {
    const long blocks = evonas_scan_blocks(channels);
#pragma omp parallel for collapse(2) num_threads(threads) if (threads > 1)
    for (long item = 0; item < batch; ++item) {
        for (long block = 0; block < blocks; ++block) {
            const long all = item * tokens * channels;
            const Walk walk = walk_of(Inputs{x, dt, a, b}, item, block, tokens, channels);
            forward(walk, h + all);
        }
    }
}

// of_a is batch x channels and of_b batch x blocks x tokens, both to be added up: so their sums have one order
extern "C" void evonas_scan_backward(const float* x, const float* dt, const float* a, const float* b, const float* h,
                                     const float* slope, float* of_x, float* of_dt, float* of_a, float* of_b,
                                     long batch, long tokens, long channels, int threads) {
    const long blocks = evonas_scan_blocks(channels);
#pragma omp parallel for collapse(2) num_threads(threads) if (threads > 1)
    for (long item = 0; item < batch; ++item) {
        for (long block = 0; block < blocks; ++block) {
            const long all = item * tokens * channels;
            const Walk walk = walk_of(Inputs{x, dt, a, b}, item, block, tokens, channels);
            const Slopes to{of_x + all, of_dt + all, of_a + item * channels, of_b + (item * blocks + block) * tokens};
            backward(walk, h + all, slope + all, to);
        }
    }
}
