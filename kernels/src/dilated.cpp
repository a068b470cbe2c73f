// Sums of depthwise 3x3 convolutions with dilations 1, 3 and 5 as one pass of 25 taps, edges repeated, for float32.
//
// Tensors are batch, height, width, channels without gaps. A block of channels of four neighbouring outputs stays in
// registers, so that every weight is loaded once for four.

#include "vector.h"

#include <algorithm>

namespace {

constexpr int TAPS = 25, OUTPUTS = 4, REACH = 5;

struct Map {
    const float* x;
    long height, width, channels;
    const signed char* taps;  // TAPS pairs of rows and columns away
};

// OUTPUTS neighbours from `column` on, `vectors` times eight channels from `channel` on; `kernel` is TAPS x channels
template <int vectors, bool is_inside>
void several(const Map& map, const float* kernel, long row, long column, long channel, long outputs, float* y) {
    v8 sum[OUTPUTS][vectors] = {};
    for (int tap = 0; tap < TAPS; ++tap) {
        v8 weight[vectors];
        for (int v = 0; v < vectors; ++v) weight[v] = load(kernel + tap * map.channels + channel + v * LANES);
        const long from = std::clamp(row + map.taps[2 * tap], 0L, map.height - 1) * map.width;
        for (int n = 0; n < OUTPUTS; ++n) {
            long at = column + n + map.taps[2 * tap + 1];
            if (!is_inside) at = std::clamp(at, 0L, map.width - 1);
            const float* here = map.x + (from + at) * map.channels + channel;
            for (int v = 0; v < vectors; ++v) sum[n][v] += weight[v] * load(here + v * LANES);
        }
    }
    for (long n = 0; n < outputs; ++n)
        for (int v = 0; v < vectors; ++v)
            store(y + (row * map.width + column + n) * map.channels + channel + v * LANES, sum[n][v]);
}

template <int vectors>
void band(const Map& map, const float* kernel, long row, long channel, float* y) {
    for (long column = 0; column < map.width; column += OUTPUTS) {
        const long outputs = std::min<long>(OUTPUTS, map.width - column);
        if (column >= REACH && column + OUTPUTS + REACH <= map.width)
            several<vectors, true>(map, kernel, row, column, channel, outputs, y);
        else
            several<vectors, false>(map, kernel, row, column, channel, outputs, y);
    }
}

void single(const Map& map, const float* kernel, long row, long column, long channel, float* y) {
    float sum = 0;
    for (int tap = 0; tap < TAPS; ++tap) {
        const long from = std::clamp(row + map.taps[2 * tap], 0L, map.height - 1) * map.width;
        const long at = std::clamp(column + map.taps[2 * tap + 1], 0L, map.width - 1);
        sum += kernel[tap * map.channels + channel] * map.x[(from + at) * map.channels + channel];
    }
    y[(row * map.width + column) * map.channels + channel] = sum;
}

void line(const Map& map, const float* kernel, long row, float* y) {
    long channel = 0;
    // two vectors are one line of the cache
    for (; channel + 2 * LANES <= map.channels; channel += 2 * LANES) band<2>(map, kernel, row, channel, y);
    for (; channel + LANES <= map.channels; channel += LANES) band<1>(map, kernel, row, channel, y);
    for (long column = 0; column < map.width; ++column)
        for (long left = channel; left < map.channels; ++left) single(map, kernel, row, column, left, y);
}

}  // namespace

extern "C" void evonas_dilated(const float* x, const float* kernel, const signed char* taps, float* y, long batch,
                               long height, long width, long channels, int threads) {
    const long size = height * width * channels;
#pragma omp parallel for collapse(2) num_threads(threads) if (threads > 1)
    for (long item = 0; item < batch; ++item) {
        for (long row = 0; row < height; ++row) {
            const Map map{x + item * size, height, width, channels, taps};
            line(map, kernel, row, y + item * size);
        }
    }
}
