// x / (1 + exp(-x)) of a depthwise 3x3 convolution and its bias, for float32.
//
// Tensors are batch, height, width, channels without gaps; the kernel is nine taps of channels. Beyond the edges are
// zeros: their taps are left out. Four neighbouring outputs stay in registers, so a weight is loaded once for four.

#include "vector.h"

#include <algorithm>

namespace {

constexpr int OUTPUTS = 4;

struct Map {
    const float* x;
    long height, width, channels;
    const float *kernel, *bias;
};

inline v8 silu(v8 x) { return x / (1.0f + exponential(-x)); }

// OUTPUTS neighbours from `column` on, `vectors` times eight channels from `channel` on, of which `outputs` are kept
template <int vectors, bool is_inside>
void several(const Map& map, long row, long column, long channel, long outputs, float* y) {
    v8 sum[OUTPUTS][vectors];
    for (int n = 0; n < OUTPUTS; ++n)
        for (int v = 0; v < vectors; ++v) sum[n][v] = load(map.bias + channel + v * LANES);
    for (long down = row ? -1 : 0; down <= (row + 1 < map.height ? 1 : 0); ++down) {
        for (long right = -1; right <= 1; ++right) {
            const float* taps = map.kernel + (3 * down + right + 4) * map.channels + channel;
            v8 weight[vectors];
            for (int v = 0; v < vectors; ++v) weight[v] = load(taps + v * LANES);
            const float* here = map.x + ((row + down) * map.width + column + right) * map.channels + channel;
            for (long n = 0; n < OUTPUTS; ++n) {
                if (!is_inside && (column + n + right < 0 || column + n + right >= map.width)) continue;
                for (int v = 0; v < vectors; ++v)
                    sum[n][v] += weight[v] * load(here + n * map.channels + v * LANES);
            }
        }
    }
    for (long n = 0; n < outputs; ++n)
        for (int v = 0; v < vectors; ++v)
            store(y + (row * map.width + column + n) * map.channels + channel + v * LANES, silu(sum[n][v]));
}

template <int vectors>
void band(const Map& map, long row, long channel, float* y) {
    for (long column = 0; column < map.width; column += OUTPUTS) {
        const long outputs = std::min<long>(OUTPUTS, map.width - column);
        if (column && column + OUTPUTS < map.width)
            several<vectors, true>(map, row, column, channel, outputs, y);
        else
            several<vectors, false>(map, row, column, channel, outputs, y);
    }
}

void single(const Map& map, long row, long column, long channel, float* y) {
    float sum = map.bias[channel];
    for (long down = row ? -1 : 0; down <= (row + 1 < map.height ? 1 : 0); ++down)
        for (long right = column ? -1 : 0; right <= (column + 1 < map.width ? 1 : 0); ++right)
            sum += map.kernel[(3 * down + right + 4) * map.channels + channel] *
                   map.x[((row + down) * map.width + column + right) * map.channels + channel];
    y[(row * map.width + column) * map.channels + channel] = silu(spread(sum))[0];
}

void line(const Map& map, long row, float* y) {
    long channel = 0;
    // two vectors are one line of the cache
    for (; channel + 2 * LANES <= map.channels; channel += 2 * LANES) band<2>(map, row, channel, y);
    for (; channel + LANES <= map.channels; channel += LANES) band<1>(map, row, channel, y);
    for (long column = 0; column < map.width; ++column)
        for (long left = channel; left < map.channels; ++left) single(map, row, column, left, y);
}

}  // namespace

extern "C" void evonas_depthwise_silu(const float* x, const float* kernel, const float* bias, float* y,
                                      long batch, long height, long width, long channels, int threads) {
    const long size = height * width * channels;
#pragma omp parallel for collapse(2) num_threads(threads) if (threads > 1)
    for (long item = 0; item < batch; ++item) {
        for (long row = 0; row < height; ++row) {
            const Map map{x + item * size, height, width, channels, kernel, bias};
            line(map, row, y + item * size);
        }
    }
}
