// 3x3 convolution, stride 1, zero padding 1, as products of bfloat16 by the processor's matrix unit (Intel AMX).
//
// The unit multiplies 16 pixels x 32 channels by 32 channels x 16 results at once, so fast that Winograd's transforms
// would take longer than the products they save. Lines of the input are rounded to bfloat16 as they come; of a line, the
// channels of three neighbouring pixels lie in a row, and that row is what a pixel is multiplied by.
#pragma once

#include "winograd.h"

#if defined(__AMX_BF16__)

namespace safa {

class TileProducts {
   public:
    // As `Winograd`.
    TileProducts(const Filter& filter, const std::vector<ChannelMap>& sources, const ChannelMap& out)
        : channels_(static_cast<int>(out.size())), panels_(panel_widths(channels_)) {
        epilogue_.build(filter, out);
        ChannelMap in;
        for (const ChannelMap& source : sources) in.insert(in.end(), source.begin(), source.end());
        in_channels_ = static_cast<int>(in.size());
        chunks_ = (3 * in_channels_ + DEPTH - 1) / DEPTH;
        float* packed = packed_.reserve(static_cast<size_t>(channels_ / LANES) * 3 * chunks_ * TILE_FLOATS);
        const auto weight = [&](int o, int y, int k) {
            const int i = k < 3 * in_channels_ ? in[k % in_channels_] : -1;
            return o < 0 || i < 0 ? 0.0f : filter.at(o, i, y, k / in_channels_);
        };
        int first = 0;
        for (const int vectors : panels_) {
            for (int y = 0; y < 3; ++y)
                for (int chunk = 0; chunk < chunks_; ++chunk)
                    for (int vector = 0; vector < vectors; ++vector)
                        for (int k = chunk * DEPTH; k < (chunk + 1) * DEPTH; k += 2)
                            for (int n = 0; n < LANES; ++n) {
                                const int o = out[first + vector * LANES + n];
                                *packed++ = Bfloat16::word(weight(o, y, k), weight(o, y, k + 1));
                            }
            first += vectors * LANES;
        }
    }

    void run(Pool& pool, Workspace& workspace, int slot, const std::vector<const Source*>& sources,
             const Output& output, const Rectangle& part) const {
        const int wide = part.right - part.left, high = part.bottom - part.top;
        const int across = (wide + CHUNK - 1) / CHUNK;
        // Lines around a band are rounded twice; and all threads should end at about the same time.
        const int bands = std::clamp(3 * pool.threads() / across, (high + 23) / 24, std::max(1, high / 6));
        const size_t stride = 3 * line_floats() + raw_floats(sources) + 2 * TILE_FLOATS * MAX_PANEL;
        float* scratch = workspace.per_thread(slot, pool.threads(), stride);
        pool.run(across * bands, [&](int index, int thread) {
            const int x0 = part.left + wide * (index % across) / across / GRAIN * GRAIN;
            const int x1 = index % across + 1 == across
                               ? part.right
                               : part.left + wide * (index % across + 1) / across / GRAIN * GRAIN;
            const int y0 = part.top + high * (index / across) / bands;
            const int y1 = part.top + high * (index / across + 1) / bands;
            block(sources, output, x0, x1, y0, y1, scratch + stride * thread);
        });
    }

    static constexpr int TILE = 8;  // lines and columns that parts of a result are multiples of

   private:
    static constexpr int DEPTH = 32;          // of a product
    static constexpr int PIXELS = 16;         // of a product
    static constexpr int TILE_FLOATS = 256;   // 1 KiB
    static constexpr int CHUNK = 96;          // columns of a task, about
    static constexpr int GRAIN = 2 * PIXELS;  // columns at once

    // Input pixels of a task's line: its own, one on each side, and what the last product reads beyond.
    static constexpr int LINE_PIXELS = CHUNK + GRAIN + 2 + PIXELS;
    size_t line_floats() const { return round_up((LINE_PIXELS * in_channels_ + 2 * DEPTH) / 2, 16); }
    static size_t raw_floats(const std::vector<const Source*>& sources) {
        int widest = 0;
        for (const Source* source : sources) widest = std::max(widest, source->channels);
        return static_cast<size_t>(LINE_PIXELS) * widest;
    }

    struct TileShapes {
        uint8_t palette = 1, start = 0, reserved[14] = {};
        uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
        uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    };

    void block(const std::vector<const Source*>& sources, const Output& output, int x0, int x1, int y0, int y1,
               float* scratch) const {
        alignas(64) const TileShapes shapes;
        _tile_loadconfig(&shapes);
        float* sums = scratch;
        float* lines = sums + 2 * TILE_FLOATS * MAX_PANEL;
        float* raw = lines + 3 * line_floats();
        const auto line = [&](int y) { return lines + line_floats() * ((y + 3) % 3); };
        for (int y = y0 - 1; y <= y1; ++y) {
            round_line(sources, y, x0 - 1, x1 + 1, raw, line(y));
            if (y <= y0) continue;
            const float* rows[3] = {line(y - 2), line(y - 1), line(y)};
            const float* weights = packed_.data();
            int first = 0;
            for (const int vectors : panels_) {
                for (int x = x0; x < x1; x += GRAIN) {
                    const size_t offset = static_cast<size_t>(x - x0) * in_channels_ / 2;
                    const float* at[3] = {rows[0] + offset, rows[1] + offset, rows[2] + offset};
                    const bool two = x + PIXELS < x1;
                    if (vectors == 1) two ? multiply<2, 1>(at, weights, sums) : multiply<1, 1>(at, weights, sums);
                    if (vectors == 2) two ? multiply<2, 2>(at, weights, sums) : multiply<1, 2>(at, weights, sums);
                    if (vectors == 3) two ? multiply<2, 3>(at, weights, sums) : multiply<1, 3>(at, weights, sums);
                    for (int m = 0; m < std::min(GRAIN, x1 - x); ++m)
                        for (int n = 0; n < vectors; ++n) {
                            const float* sum = sums + ((m / PIXELS * vectors + n) * PIXELS + m % PIXELS) * LANES;
                            output.store_pixel(epilogue_, y - 1, x + m, first + n * LANES, load(sum));
                        }
                }
                weights += static_cast<size_t>(vectors) * 3 * chunks_ * TILE_FLOATS;
                first += vectors * LANES;
            }
        }
        _tile_release();
    }

    // Pixels x0..x1-1 of a line of all sources side by side, as bfloat16.
    void round_line(const std::vector<const Source*>& sources, int y, int x0, int x1, float* raw, float* line) const {
        int first = 0;
        for (const Source* source : sources) {
            const Tensor* tensor = source->tensor();
            const float* from = raw;
            if (tensor && y >= 0 && y < tensor->height && x0 >= 0 && x1 <= tensor->width) {
                from = tensor->at(y, x0);
            } else {
                source->padded_row(y, x0, x1, raw, source->channels);
            }
            float* to = line + first / 2;
            for (int x = x0; x < x1; ++x, from += source->channels, to += in_channels_ / 2)
                for (int c = 0; c < source->channels; c += LANES) Bfloat16::store_channels(to + c / 2, load(from + c));
            first += source->channels;
        }
        // What products read beyond the last pixel is multiplied by weights of zero, so it only has to be a number.
        std::memset(line + static_cast<size_t>(x1 - x0) * in_channels_ / 2, 0, DEPTH * sizeof(float));
    }

    // MR times 16 pixels, NV times 16 results: sums[m][n][16 pixels][16].
    template <int MR, int NV>
    void multiply(const float* const* rows, const float* weights, float* sums) const {
        static_assert(MR <= 2 && NV <= 3);
        _tile_zero(0);
        if constexpr (NV > 1) _tile_zero(1);
        if constexpr (NV > 2) _tile_zero(2);
        if constexpr (MR > 1) {
            _tile_zero(3);
            if constexpr (NV > 1) _tile_zero(4);
            if constexpr (NV > 2) _tile_zero(5);
        }
        const ptrdiff_t step = in_channels_ * ptrdiff_t(2);  // bytes between pixels
        for (int y = 0; y < 3; ++y) {
            const float* first = rows[y];
            const float* second = first + static_cast<size_t>(PIXELS) * in_channels_ / 2;
            for (int chunk = 0; chunk < chunks_; ++chunk, first += DEPTH / 2, second += DEPTH / 2) {
                _tile_loadd(7, weights, 64);
                _tile_loadd(6, first, step);
                _tile_dpbf16ps(0, 6, 7);
                if constexpr (MR > 1) {
                    _tile_loadd(6, second, step);
                    _tile_dpbf16ps(3, 6, 7);
                }
                if constexpr (NV > 1) {
                    _tile_loadd(7, weights + TILE_FLOATS, 64);
                    if constexpr (MR > 1) {
                        _tile_dpbf16ps(4, 6, 7);
                        _tile_loadd(6, first, step);
                    }
                    _tile_dpbf16ps(1, 6, 7);
                }
                if constexpr (NV > 2) {
                    _tile_loadd(7, weights + 2 * TILE_FLOATS, 64);
                    _tile_dpbf16ps(2, 6, 7);
                    if constexpr (MR > 1) {
                        _tile_loadd(6, second, step);
                        _tile_dpbf16ps(5, 6, 7);
                    }
                }
                weights += NV * TILE_FLOATS;
            }
        }
        _tile_stored(0, sums, 64);
        if constexpr (NV > 1) _tile_stored(1, sums + TILE_FLOATS, 64);
        if constexpr (NV > 2) _tile_stored(2, sums + 2 * TILE_FLOATS, 64);
        if constexpr (MR > 1) {
            _tile_stored(3, sums + NV * TILE_FLOATS, 64);
            if constexpr (NV > 1) _tile_stored(4, sums + (NV + 1) * TILE_FLOATS, 64);
            if constexpr (NV > 2) _tile_stored(5, sums + (NV + 2) * TILE_FLOATS, 64);
        }
    }

    const int channels_;
    const std::vector<int> panels_;
    int in_channels_ = 0;
    int chunks_ = 0;  // products one after the other in a line
    Buffer packed_;
    Epilogue epilogue_;
};

}  // namespace safa

#endif
