// 3x3 convolution, stride 1, zero padding 1, by Winograd's minimal filtering.
//
// A task is a rectangle of tiles. For each source: its pixels -> transform -> one matrix product for each point of the
// window, accumulated over sources. Then the inverse transform with bias, residual and PReLU. All of that stays in the second-level cache.
#pragma once

#include <algorithm>

#include "source.h"
#include "threads.h"
#include "transform.h"
#include "weights.h"

namespace safa {

// Where results go. Shuffled: channels come as four groups, one for each pixel of a 2x2 cell of a tensor twice as
// high and wide (PixelShuffle). `residual` has the layout of `tensor` and is not used with shuffling.
struct Output {
    Tensor tensor;
    const float* residual = nullptr;
    bool shuffled = false;

    // A pixel's channels from `c` on: bias, residual and PReLU, then where they belong.
    void store_pixel(const Epilogue& epilogue, int y, int x, int c, Vec value) const {
        if (shuffled) {
            const int cell = c / tensor.channels;
            store(tensor.at(2 * y + cell / 2, 2 * x + cell % 2) + c % tensor.channels, epilogue.apply(value, c, nullptr));
        } else {
            const size_t at = (static_cast<size_t>(y) * tensor.width + x) * tensor.channels + c;
            store(tensor.data + at, epilogue.apply(value, c, residual ? residual + at : nullptr));
        }
    }
};

// Part of a result, in its pixels: multiples of the layer's tile, or the result's own ends.
struct Rectangle {
    int top, left, bottom, right;
};

template <typename Transform>
class Winograd {
   public:
    // `sources`: the channels each source brings; `out`: the channels we hold of the result.
    Winograd(const Filter& filter, const std::vector<ChannelMap>& sources, const ChannelMap& out)
        : channels_(static_cast<int>(out.size())), panels_(panel_widths(channels_)) {
        epilogue_.build(filter, out);
        for (const ChannelMap& source : sources) {
            int depth = static_cast<int>(source.size());
            while (depth > 1 && source[depth - 1] < 0) --depth;
            depth = round_up(depth, Numbers::IN_WORD);
            if (depth > MAX_GROUPS * LANES) throw Error("a convolution has too many channels");
            depths_.push_back(depth);
            widest_ = std::max(widest_, static_cast<int>(source.size()));
            packed_.push_back(pack(filter, source, depth, out));
        }
    }

    void run(Pool& pool, Workspace& workspace, int slot, const std::vector<const Source*>& sources,
             const Output& output, const Rectangle& part) const {
        const Plan plan = make_plan(pool, *sources[0], part);
        const size_t stride = plan.patch_floats + plan.input_floats + plan.product_floats;
        float* scratch = workspace.per_thread(slot, pool.threads(), stride);
        pool.run(plan.across * plan.down, [&](int index, int thread) {
            block(plan, sources, output, index % plan.across, index / plan.across, scratch + stride * thread);
        });
    }

    int channels() const { return channels_; }

    static constexpr int TILE = Transform::TILE;

   private:
    static constexpr int WINDOW = Transform::WINDOW;  // input pixels across a tile
    static constexpr int POINTS = WINDOW * WINDOW;
    using Numbers = typename Transform::Numbers;
    static constexpr int WORDS = LANES / Numbers::IN_WORD;  // of a vector of channels

    struct Plan {
        int height, width;           // pixels
        int tile_top, tile_left;     // where the part begins
        int tiles_down, tiles_across;
        int high, wide;              // tiles of a block
        int down, across;            // blocks
        int rows;                    // most tiles of a block
        size_t patch_floats, input_floats, product_floats;
        size_t input_step, product_step;  // words between points; not a multiple of the cache's way size
    };

    Plan make_plan(const Pool& pool, const Source& source, const Rectangle& part) const {
        Plan plan{};
        plan.height = source.height;
        plan.width = source.width;
        plan.tile_top = part.top / TILE;
        plan.tile_left = part.left / TILE;
        plan.tiles_down = (part.bottom + TILE - 1) / TILE - plan.tile_top;
        plan.tiles_across = (part.right + TILE - 1) / TILE - plan.tile_left;
        choose_block(plan, pool.threads());
        plan.across = (plan.tiles_across + plan.wide - 1) / plan.wide;
        plan.down = (plan.tiles_down + plan.high - 1) / plan.high;
        plan.rows = plan.wide * plan.high;
        plan.input_step = static_cast<size_t>(plan.rows) * (widest_ / Numbers::IN_WORD) + 16;
        plan.product_step = static_cast<size_t>(plan.rows) * channels_ + 16;
        plan.patch_floats = static_cast<size_t>(WINDOW) * (TILE * plan.wide + 2) * widest_;
        plan.input_floats = POINTS * plan.input_step;
        plan.product_floats = POINTS * plan.product_step;
        return plan;
    }

    // The shape of a block, by a rough model in units of one tile's products: rows of tiles are multiplied eight at a
    // time, the weights are read once for each block, and pixels around a block are read twice.
    void choose_block(Plan& plan, int threads) const {
        constexpr int TOGETHER = 8, WEIGHTS = 6;
        const size_t per_tile = POINTS * sizeof(float) * (widest_ / Numbers::IN_WORD + channels_);
        const int fitting = std::clamp(static_cast<int>(BLOCK_BYTES / per_tile), 3 * TOGETHER, 8 * TOGETHER);
        // Enough blocks for every thread to end at about the same time.
        const int most = std::clamp(plan.tiles_down * plan.tiles_across / (4 * threads), TOGETHER, fitting);
        double best = 0;
        for (int high = 1; high <= std::min(plan.tiles_down, 12); ++high)
            for (int wide = 1; wide <= std::min(plan.tiles_across, 12) && wide * high <= most; ++wide) {
                const double blocks = static_cast<double>((plan.tiles_across + wide - 1) / wide) *
                                      ((plan.tiles_down + high - 1) / high);
                const double around = 0.1 * ((TILE * high + 2.0) * (TILE * wide + 2.0) / (TILE * TILE));
                const double cost = blocks * (round_up(wide * high, TOGETHER) + WEIGHTS + around);
                if (best == 0 || cost < best) {
                    best = cost;
                    plan.high = high;
                    plan.wide = wide;
                }
            }
    }

    Buffer pack(const Filter& filter, const ChannelMap& in, int depth, const ChannelMap& out) const {
        Buffer buffer;
        float* packed = buffer.reserve(static_cast<size_t>(POINTS) * (depth / Numbers::IN_WORD) * channels_);
        for (int point = 0; point < POINTS; ++point) {
            const double* gy = Transform::FILTER[point / WINDOW];
            const double* gx = Transform::FILTER[point % WINDOW];
            int first = 0;
            for (const int vectors : panels_) {
                const int wide = vectors * LANES;
                const auto transformed = [&](int o, int i) {
                    double sum = 0;
                    for (int y = 0; y < 3 && o >= 0 && i >= 0; ++y)
                        for (int x = 0; x < 3; ++x) sum += gy[y] * gx[x] * filter.at(o, i, y, x);
                    return sum;
                };
                for (int k = 0; k < depth; k += Numbers::IN_WORD)
                    for (int n = 0; n < wide; ++n) {
                        const int o = out[first + n], last = k + Numbers::IN_WORD - 1;
                        *packed++ = Numbers::word(transformed(o, in[k]), transformed(o, in[last]));
                    }
                first += wide;
            }
        }
        return buffer;
    }

    void block(const Plan& plan, const std::vector<const Source*>& sources, const Output& output, int column, int line,
               float* scratch) const {
        const int x0 = plan.tile_left + plan.wide * column, y0 = plan.tile_top + plan.high * line;
        const int x1 = std::min(plan.tile_left + plan.tiles_across, x0 + plan.wide);
        const int y1 = std::min(plan.tile_top + plan.tiles_down, y0 + plan.high);
        float* patch = scratch;
        float* input = patch + plan.patch_floats;
        float* product = input + plan.input_floats;
        for (size_t s = 0; s < sources.size(); ++s) {
            load_source(plan, *sources[s], depths_[s], x0, x1, y0, y1, patch, input);
            multiply_points(plan, s, (x1 - x0) * (y1 - y0), input, product);
        }
        for (int ty = y0, tile = 0; ty < y1; ++ty)
            for (int tx = x0; tx < x1; ++tx, ++tile) store_tile(plan, output, product + tile * LANES, ty, tx);
    }

    // Transformed input: [point][vector of channels][tile][WORDS].
    void load_source(const Plan& plan, const Source& source, int depth, int x0, int x1, int y0, int y1, float* patch,
                     float* input) const {
        const int left = TILE * x0 - 1, right = TILE * x1 + 1, channels = source.channels;
        const size_t line = static_cast<size_t>(right - left) * channels;
        const Tensor* tensor = left >= 0 && right <= source.width ? source.tensor() : nullptr;
        int filled = -WINDOW;  // rows below this are in the patch, a ring of WINDOW lines
        for (int ty = y0, tile = 0; ty < y1; ++ty) {
            const int top = TILE * ty - 1;
            const float* rows[WINDOW];
            if (tensor && top >= 0 && top + WINDOW <= source.height) {
                for (int i = 0; i < WINDOW; ++i) rows[i] = tensor->at(top + i, left);
            } else {
                for (int i = 0; i < WINDOW; ++i) {
                    float* slot = patch + line * ((top + i + WINDOW) % WINDOW);
                    if (top + i >= filled) {
                        source.padded_row(top + i, left, right, slot, channels);
                        filled = top + i + 1;
                    }
                    rows[i] = slot;
                }
            }
            for (int tx = x0; tx < x1; ++tx, ++tile)
                for (int c = 0; c < depth; c += LANES)
                    transform_input(rows, static_cast<size_t>(TILE * (tx - x0)) * channels + c, channels,
                                    input + (static_cast<size_t>(c / LANES) * plan.rows + tile) * WORDS, plan.input_step);
        }
    }

    static void transform_input(const float* const* rows, size_t offset, int channels, float* out, size_t step) {
        Vec middle[WINDOW][WINDOW];
        for (int j = 0; j < WINDOW; ++j) {
            Vec column[WINDOW], result[WINDOW];
            for (int i = 0; i < WINDOW; ++i) column[i] = load(rows[i] + offset + static_cast<size_t>(j) * channels);
            Transform::forward(column, result);
            for (int i = 0; i < WINDOW; ++i) middle[i][j] = result[i];
        }
        for (int i = 0; i < WINDOW; ++i) {
            Vec result[WINDOW];
            Transform::forward(middle[i], result);
            for (int j = 0; j < WINDOW; ++j) Numbers::store_channels(out + (i * WINDOW + j) * step, result[j]);
        }
    }

    void multiply_points(const Plan& plan, size_t source, int tiles, const float* input, float* product) const {
        const int depth = depths_[source] / Numbers::IN_WORD, groups = (depth + WORDS - 1) / WORDS;
        const float* weights = packed_[source].data();
        const float* steps[MAX_GROUPS];
        for (int point = 0; point < POINTS; ++point) {
            for (int g = 0; g < groups; ++g)
                steps[g] = input + point * plan.input_step + static_cast<size_t>(g) * plan.rows * WORDS;
            float* out = product + point * plan.product_step;
            for (const int vectors : panels_) {
                const Product p{steps,   WORDS, depth, 0,     WORDS, weights, out, static_cast<ptrdiff_t>(plan.rows) * LANES,
                                LANES, source > 0};
                multiply_panel<Numbers, WORDS>(p, vectors, tiles);
                weights += static_cast<size_t>(depth) * vectors * LANES;
                out += static_cast<size_t>(vectors) * plan.rows * LANES;
            }
        }
    }

    void store_tile(const Plan& plan, const Output& output, const float* product, int ty, int tx) const {
        const int high = std::min(TILE, plan.height - TILE * ty), wide = std::min(TILE, plan.width - TILE * tx);
        for (int c = 0; c < channels_; c += LANES) {
            const float* m = product + static_cast<size_t>(c) * plan.rows;
            Vec middle[TILE][WINDOW];
            for (int j = 0; j < WINDOW; ++j) {
                Vec column[WINDOW], result[TILE];
                for (int i = 0; i < WINDOW; ++i) column[i] = load(m + (i * WINDOW + j) * plan.product_step);
                Transform::inverse(column, result);
                for (int i = 0; i < TILE; ++i) middle[i][j] = result[i];
            }
            for (int i = 0; i < high; ++i) {
                Vec result[TILE];
                Transform::inverse(middle[i], result);
                for (int j = 0; j < wide; ++j) output.store_pixel(epilogue_, TILE * ty + i, TILE * tx + j, c, result[j]);
            }
        }
    }

    static constexpr size_t BLOCK_BYTES = 700 << 10;
    static constexpr int MAX_GROUPS = 512;

    const int channels_;
    const std::vector<int> panels_;
    int widest_ = 0;
    std::vector<int> depths_;
    std::vector<Buffer> packed_;
    Epilogue epilogue_;
};

}  // namespace safa
