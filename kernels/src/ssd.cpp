// Non-causal state space duality: y_l = c_l sum_k b_k (a_k x_k)^T + d x_l, for float32.
//
// A group of columns of the inner width reads its values twice: once for its part of the global state, once for the
// skip. State and packed values stay in the nearest caches, and nothing between the two products goes to memory.

#include "vector.h"

#include <algorithm>
#include <vector>

namespace {

// a block of columns, rows of a product, tokens of a packed tile, blocks that share one reading of the keys
constexpr long COLUMNS = 2 * LANES, ROWS = 6, TILE = 64, GROUP = 4;

struct Shape {
    long tokens, heads, head_dim, states;
    // distance of a token to the next, in floats
    long x_stride, b_stride, c_stride;
};

// a_l x_l of `count` tokens for the columns from `first` on, zero beyond the inner width
void pack(const Shape& shape, const float* x, const float* a, long first, long count, float* packed) {
    const long inner = shape.heads * shape.head_dim, width = std::min(COLUMNS, inner - first);
    const bool is_whole = width == COLUMNS && shape.head_dim % LANES == 0;
    const long one = first / shape.head_dim, other = (first + LANES) / shape.head_dim;
    for (long l = 0; l < count; ++l) {
        const float* row = x + l * shape.x_stride + first;
        const float* weight = a + l * shape.heads;
        float* to = packed + l * COLUMNS;
        if (is_whole) {
            store(to, load(row) * weight[one]);
            store(to + LANES, load(row + LANES) * weight[other]);
            continue;
        }
        for (long i = 0; i < COLUMNS; ++i) to[i] = i < width ? row[i] * weight[(first + i) / shape.head_dim] : 0.0f;
    }
}

// state (rows x COLUMNS) += b^T packed over `count` tokens
template <int rows>
void accumulate(const float* b, long b_stride, const float* packed, long count, float* state) {
    v8 sum[rows][2];
    for (int r = 0; r < rows; ++r)
        for (int half = 0; half < 2; ++half) sum[r][half] = load(state + r * COLUMNS + half * LANES);
    for (long l = 0; l < count; ++l) {
        const v8 left = load(packed + l * COLUMNS), right = load(packed + l * COLUMNS + LANES);
        for (int r = 0; r < rows; ++r) {
            const v8 weight = spread(b[l * b_stride + r]);
            sum[r][0] += weight * left;
            sum[r][1] += weight * right;
        }
    }
    for (int r = 0; r < rows; ++r)
        for (int half = 0; half < 2; ++half) store(state + r * COLUMNS + half * LANES, sum[r][half]);
}

// rows of c times state, to `read` (rows x COLUMNS)
template <int rows>
void product(const float* c, long c_stride, const float* state, long states, float* read) {
    v8 sum[rows][2] = {};
    for (long s = 0; s < states; ++s) {
        const v8 left = load(state + s * COLUMNS), right = load(state + s * COLUMNS + LANES);
        for (int r = 0; r < rows; ++r) {
            const v8 weight = spread(c[r * c_stride + s]);
            sum[r][0] += weight * left;
            sum[r][1] += weight * right;
        }
    }
    for (int r = 0; r < rows; ++r)
        for (int half = 0; half < 2; ++half) store(read + r * COLUMNS + half * LANES, sum[r][half]);
}

typedef void (*Accumulate)(const float*, long, const float*, long, float*);
typedef void (*Product)(const float*, long, const float*, long, float*);

const Accumulate ACCUMULATE[ROWS] = {accumulate<1>, accumulate<2>, accumulate<3>,
                                     accumulate<4>, accumulate<5>, accumulate<6>};
const Product PRODUCT[ROWS] = {product<1>, product<2>, product<3>, product<4>, product<5>, product<6>};

// the columns of `blocks` blocks from `first` on; their states follow one another
struct Group {
    long first, blocks;
};

void gather(const Shape& shape, const float* x, const float* a, const float* b, const Group& group, float* states) {
    float packed[TILE * COLUMNS];
    const long size = shape.states * COLUMNS;
    std::fill(states, states + group.blocks * size, 0.0f);
    for (long l = 0; l < shape.tokens; l += TILE) {
        const long count = std::min(TILE, shape.tokens - l);
        const float* keys = b + l * shape.b_stride;
        for (long block = 0; block < group.blocks; ++block) {
            float* state = states + block * size;
            pack(shape, x + l * shape.x_stride, a + l * shape.heads, group.first + block * COLUMNS, count, packed);
            for (long s = 0; s < shape.states; s += ROWS) {
                const long rows = std::min(ROWS, shape.states - s);
                ACCUMULATE[rows - 1](keys + s, shape.b_stride, packed, count, state + s * COLUMNS);
            }
        }
    }
}

void scatter(const Shape& shape, const float* x, const float* c, const float* d, const Group& group,
             const float* states, float* y) {
    const long inner = shape.heads * shape.head_dim;
    float read[ROWS * COLUMNS], skip[GROUP * COLUMNS];
    for (long i = 0; i < std::min(group.blocks * COLUMNS, inner - group.first); ++i)
        skip[i] = d[(group.first + i) / shape.head_dim];
    for (long l = 0; l < shape.tokens; l += ROWS) {
        const long rows = std::min(ROWS, shape.tokens - l);
        for (long block = 0; block < group.blocks; ++block) {
            const long first = group.first + block * COLUMNS, width = std::min(COLUMNS, inner - first);
            const float* state = states + block * shape.states * COLUMNS;
            PRODUCT[rows - 1](c + l * shape.c_stride, shape.c_stride, state, shape.states, read);
            for (long r = 0; r < rows; ++r) {
                const float* from = x + (l + r) * shape.x_stride + first;
                float* to = y + (l + r) * inner + first;
                const float *at = read + r * COLUMNS, *factor = skip + block * COLUMNS;
                if (width == COLUMNS) {
                    for (long i = 0; i < COLUMNS; i += LANES)
                        store(to + i, load(at + i) + load(factor + i) * load(from + i));
                    continue;
                }
                for (long i = 0; i < width; ++i) to[i] = at[i] + factor[i] * from[i];
            }
        }
    }
}

}  // namespace

extern "C" void evonas_ssd(const float* x, const float* a, const float* b, const float* c, const float* d, float* y,
                           long batch, long tokens, long heads, long head_dim, long states, long x_stride,
                           long b_stride, long c_stride, int threads) {
    const long inner = heads * head_dim, blocks = (inner + COLUMNS - 1) / COLUMNS;
    const Shape shape{tokens, heads, head_dim, states, x_stride, b_stride, c_stride};
    // smaller groups where threads would have nothing to do
    const long group = std::clamp(batch * blocks / threads, 1L, GROUP), groups = (blocks + group - 1) / group;
#pragma omp parallel for collapse(2) num_threads(threads) if (threads > 1)
    for (long item = 0; item < batch; ++item) {
        for (long each = 0; each < groups; ++each) {
            thread_local std::vector<float> state;
            state.resize(states * group * COLUMNS);
            const Group columns{each * group * COLUMNS, std::min(group, blocks - each * group)};
            const float* values = x + item * tokens * x_stride;
            gather(shape, values, a + item * tokens * heads, b + item * tokens * b_stride, columns, state.data());
            scatter(shape, values, c + item * tokens * c_stride, d, columns, state.data(), y + item * tokens * inner);
        }
    }
}
