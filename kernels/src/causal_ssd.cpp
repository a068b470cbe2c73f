// Causal state space duality: h_l = exp(dt_l a) h_(l-1) + b_l (dt_l x_l)^T per head, y_l = c_l h_l + d x_l, for float32.
//
// Columns of a state do not depend on each other: a block of columns of one head walks along the tokens with its state
// (states x columns) in the nearest cache. Tensors have no gaps: x B L N P, dt B L N, a and d N, b and c B L S.

#include "vector.h"

#include <algorithm>
#include <vector>

namespace {

// vectors in a block of columns: their sums fit the registers; tokens whose states are kept at a time on the way back
constexpr long MOST = 4, TILE = 32;

struct Shape {
    long tokens, heads, head_dim, states;
    long vectors() const { return (head_dim + LANES - 1) / LANES; }
    long blocks() const { return (vectors() + MOST - 1) / MOST; }
    // as even as can be
    long block() const { return (vectors() + blocks() - 1) / blocks(); }
};

struct Given {
    const float *x, *dt, *a, *b, *c, *d;
};

// One block of columns of one head of one item.
struct Walk {
    Shape shape;
    const float *x, *dt, *b, *c;  // of the first token, at this head and these columns
    float rate, skip;
    long width;  // columns, which may not fill the last vector
    long offset;  // of the first token's columns in x

    float step(long l) const { return dt[l * shape.heads]; }
    long row(long l) const { return l * shape.heads * shape.head_dim; }
};

Walk walk_of(const Given& all, const Shape& shape, long item, long head, long block) {
    const long first = block * shape.block() * LANES;
    const long offset = (item * shape.tokens * shape.heads + head) * shape.head_dim + first;
    const long keys = item * shape.tokens * shape.states;
    return Walk{shape, all.x + offset, all.dt + item * shape.tokens * shape.heads + head, all.b + keys, all.c + keys,
                all.a[head], all.d[head], std::min(shape.block() * LANES, shape.head_dim - first), offset};
}

// `to` = the state after token l, where `from` is the one before; its reading by c, where it is wanted
template <int vectors, bool is_read>
void advance(const Walk& walk, long l, const float* from, float* to, v8* read) {
    const float step = walk.step(l);
    const float *b = walk.b + l * walk.shape.states, *c = walk.c + l * walk.shape.states;
    const v8 decay = exponential(spread(step * walk.rate));
    // neighbouring rows have sums of their own, so that they do not wait for each other
    v8 weighted[vectors], even[vectors] = {}, odd[vectors] = {};
    for (int v = 0; v < vectors; ++v) weighted[v] = step * some(walk.x + walk.row(l) + v * LANES, walk.width - v * LANES);
    const auto row = [&](long s, v8* sum) {
        for (int v = 0; v < vectors; ++v) {
            const long at = (s * vectors + v) * LANES;
            const v8 state = decay * load(from + at) + b[s] * weighted[v];
            store(to + at, state);
            if (is_read) sum[v] += c[s] * state;
        }
    };
    long s = 0;
    for (; s + 1 < walk.shape.states; s += 2) row(s, even), row(s + 1, odd);
    if (s < walk.shape.states) row(s, even);
    for (int v = 0; is_read && v < vectors; ++v) read[v] = even[v] + odd[v];
}

template <int vectors>
void forward(const Walk& walk, float* state, float* y) {
    std::fill(state, state + walk.shape.states * vectors * LANES, 0.0f);
    for (long l = 0; l < walk.shape.tokens; ++l) {
        v8 read[vectors];
        advance<vectors, true>(walk, l, state, state, read);
        for (int v = 0; v < vectors; ++v) {
            const long at = walk.row(l) + v * LANES, left = walk.width - v * LANES;
            put(y + at, read[v] + walk.skip * some(walk.x + at, left), left);
        }
    }
}

// Slopes of one block of columns; all but of_x are one of several parts of a sum.
struct Slopes {
    float *x, *dt, *a, *b, *c, *d;
};

// what tokens add to the slopes of their head
struct Sums {
    v8 rate = {}, skip = {};
};

// From the slope of the state after token l that later tokens have (`later`) to that of the state before it.
template <int vectors>
void retreat(const Walk& walk, long l, const float* slope, const float* before, const float* after, float* later,
             const Slopes& to, Sums& sums) {
    const float step = walk.step(l);
    const long states = walk.shape.states;
    const float *b = walk.b + l * states, *c = walk.c + l * states;
    const v8 decay = exponential(spread(step * walk.rate));
    v8 value[vectors], of_y[vectors], of_weighted[vectors] = {}, of_exponent = {};
    for (int v = 0; v < vectors; ++v) {
        value[v] = some(walk.x + walk.row(l) + v * LANES, walk.width - v * LANES);
        of_y[v] = some(slope + walk.row(l) + v * LANES, walk.width - v * LANES);
    }
    for (long first = 0; first < states; first += LANES) {
        v8 of_key[LANES] = {}, of_query[LANES] = {};
        for (long s = first; s < std::min(first + LANES, states); ++s) {
            for (int v = 0; v < vectors; ++v) {
                const long at = (s * vectors + v) * LANES;
                const v8 of_state = load(later + at) + c[s] * of_y[v], left = decay * of_state;
                store(later + at, left);
                of_exponent += left * load(before + at);
                of_weighted[v] += b[s] * of_state;
                of_key[s - first] += of_state * value[v];
                of_query[s - first] += load(after + at) * of_y[v];
            }
        }
        put(to.b + l * states + first, step * sums_of(of_key), states - first);
        put(to.c + l * states + first, sums_of(of_query), states - first);
    }
    v8 of_step = of_exponent * walk.rate;
    for (int v = 0; v < vectors; ++v) {
        put(to.x + walk.row(l) + v * LANES, step * of_weighted[v] + walk.skip * of_y[v], walk.width - v * LANES);
        of_step += of_weighted[v] * value[v];
        sums.skip += of_y[v] * value[v];
    }
    sums.rate += step * of_exponent;
    to.dt[l * walk.shape.heads] = sum_of(of_step);
}

// The states before every TILE-th token are kept, and from them those of one tile at a time.
template <int vectors>
void backward(const Walk& walk, const float* slope, const Slopes& to) {
    const long size = walk.shape.states * vectors * LANES, tokens = walk.shape.tokens;
    const long tiles = (tokens + TILE - 1) / TILE;
    thread_local std::vector<float> memory;
    memory.assign((tiles + TILE + 2) * size, 0.0f);
    float *starts = memory.data(), *kept = starts + tiles * size, *later = kept + (TILE + 1) * size;
    for (long l = 0; l < (tiles - 1) * TILE; ++l) {
        const float* from = l % TILE ? kept : starts + l / TILE * size;
        advance<vectors, false>(walk, l, from, (l + 1) % TILE ? kept : starts + (l + 1) / TILE * size, nullptr);
    }
    Sums sums;
    for (long tile = tiles - 1; tile >= 0; --tile) {
        const long first = tile * TILE, count = std::min(TILE, tokens - first);
        std::copy(starts + tile * size, starts + (tile + 1) * size, kept);
        for (long n = 0; n < count; ++n)
            advance<vectors, false>(walk, first + n, kept + n * size, kept + (n + 1) * size, nullptr);
        for (long n = count - 1; n >= 0; --n)
            retreat<vectors>(walk, first + n, slope, kept + n * size, kept + (n + 1) * size, later, to, sums);
    }
    *to.a = sum_of(sums.rate);
    *to.d = sum_of(sums.skip);
}

typedef void (*Forward)(const Walk&, float*, float*);
typedef void (*Backward)(const Walk&, const float*, const Slopes&);

const Forward FORWARD[MOST] = {forward<1>, forward<2>, forward<3>, forward<4>};
const Backward BACKWARD[MOST] = {backward<1>, backward<2>, backward<3>, backward<4>};

}  // namespace

extern "C" long evonas_causal_ssd_blocks(long head_dim) { return Shape{0, 0, head_dim, 0}.blocks(); }

extern "C" void evonas_causal_ssd(const float* x, const float* dt, const float* a, const float* b, const float* c,
                                  const float* d, float* y, long batch, long tokens, long heads, long head_dim,
                                  long states, int threads) {
    const Shape shape{tokens, heads, head_dim, states};
    const long blocks = shape.blocks(), vectors = shape.block();
#pragma omp parallel for collapse(3) num_threads(threads) if (threads > 1)
    for (long item = 0; item < batch; ++item) {
        for (long head = 0; head < heads; ++head) {
            for (long block = 0; block < blocks; ++block) {
                thread_local std::vector<float> state;
                state.resize(states * vectors * LANES);
                const Walk walk = walk_of(Given{x, dt, a, b, c, d}, shape, item, head, block);
                FORWARD[vectors - 1](walk, state.data(), y + walk.offset);
            }
        }
    }
}

// With K blocks of columns a head, of_dt is B K L N, of_a and of_d B K N, of_b and of_c B K N L S, all to be added up
// over what their operand has not: so their sums have one order.
extern "C" void evonas_causal_ssd_backward(const float* x, const float* dt, const float* a, const float* b,
                                           const float* c, const float* d, const float* slope, float* of_x,
                                           float* of_dt, float* of_a, float* of_b, float* of_c, float* of_d,
                                           long batch, long tokens, long heads, long head_dim, long states,
                                           int threads) {
    const Shape shape{tokens, heads, head_dim, states};
    const long blocks = shape.blocks(), vectors = shape.block();
#pragma omp parallel for collapse(3) num_threads(threads) if (threads > 1)
    for (long item = 0; item < batch; ++item) {
        for (long block = 0; block < blocks; ++block) {
            for (long head = 0; head < heads; ++head) {
                const Walk walk = walk_of(Given{x, dt, a, b, c, d}, shape, item, head, block);
                const long part = item * blocks + block, one = part * heads + head, keys = one * tokens * states;
                const Slopes to{of_x + walk.offset, of_dt + part * tokens * heads + head, of_a + one,
                                of_b + keys,        of_c + keys,                          of_d + one};
                BACKWARD[vectors - 1](walk, slope + walk.offset, to);
            }
        }
    }
}
