// One face for all kinds of convolution, several of them in a row, and the residual block that several stages are made of.
#pragma once

#include <deque>
#include <memory>

#include "direct.h"
#include "stages.h"
#include "tile_products.h"

namespace safa {

// What a layer needs besides its data. Layers run one after the other, so all share one scratch slot.
struct Machine {
    Pool pool{1};
    Workspace workspace;
    StageSeconds seconds;
};

enum Slot {
    SCRATCH,
    PICTURE,
    LEVEL,      // encoder: one slot for each level, then one for its fused channels
    LEVEL_MID = LEVEL + 4,
    LEVEL_SIDE = LEVEL_MID + 4,
    FUSED = LEVEL_SIDE + 4,
    SUMS = FUSED + 4,
    FLOW,
    PRIOR,
    HIDDEN,
    OTHER_HIDDEN,
    MIDDLE,
    LOOKED,
    JOINED,
    DECODED,
    DECODED_MIDDLE,
    WIDENED,
    RESIDUAL,
};

#if defined(__AMX_BF16__)
using Rounded = TileProducts;
#else
using Rounded = Winograd<RoundedF4>;
#endif

class Convolution {
   public:
    Convolution(const Filter& filter, const std::vector<ChannelMap>& sources, const ChannelMap& out, int stride = 1) {
        if (filter.size == 3 && stride == 1 && filter.rounded) {
            rounded_ = std::make_unique<Rounded>(filter, sources, out);
        } else if (filter.size == 3 && stride == 1 && large_tiles_pay(filter)) {
            large_ = std::make_unique<Winograd<F6>>(filter, sources, out);
        } else if (filter.size == 3 && stride == 1) {
            small_ = std::make_unique<Winograd<F4>>(filter, sources, out);
        } else {
            ChannelMap in;
            for (const ChannelMap& source : sources) in.insert(in.end(), source.begin(), source.end());
            direct_ = std::make_unique<Direct>(filter, in, out, stride);
        }
    }

    void run(Machine& machine, const std::vector<const Source*>& sources, const Output& output) const {
        if (direct_) {
            direct_->run(machine.pool, machine.workspace, SCRATCH, sources, output);
        } else {
            run(machine, sources, output, {0, 0, sources[0]->height, sources[0]->width});
        }
    }
    void run(Machine& machine, const Tensor& in, const Output& output) const {
        const Plain plain(in);
        run(machine, {&plain}, output);
    }

    // Pixels across the tiles of a layer that gains by being run in parts, else 0: products of float32 take longer than
    // memory does, and run a twentieth slower in parts.
    int tile() const { return rounded_ ? Rounded::TILE : 0; }
    void run(Machine& machine, const std::vector<const Source*>& sources, const Output& output,
             const Rectangle& part) const {
        if (rounded_) {
            rounded_->run(machine.pool, machine.workspace, SCRATCH, sources, output, part);
        } else if (large_) {
            large_->run(machine.pool, machine.workspace, SCRATCH, sources, output, part);
        } else {
            small_->run(machine.pool, machine.workspace, SCRATCH, sources, output, part);
        }
    }

   private:
    // F(6) has a fifth fewer products but more weights: measured, it wins where they stay in the second-level cache,
    // and where there are so many input channels that they do not with F(4) either.
    static bool large_tiles_pay(const Filter& filter) {
        const int weights = F6::WINDOW * F6::WINDOW * filter.in_channels * filter.out_channels;
        return weights <= 1 << 18 || filter.in_channels >= 2 * filter.out_channels;
    }

    std::unique_ptr<Rounded> rounded_;
    std::unique_ptr<Winograd<F6>> large_;
    std::unique_ptr<Winograd<F4>> small_;
    std::unique_ptr<Direct> direct_;
};

// Layers of one grid, each of which reads what the one before it wrote. They are run a few lines at a time, the later ones
// a tile behind the earlier ones, so that what passes between them stays in the cache: with a whole layer at a time, two
// cores that multiply bfloat16 take a fifth longer. The results are the same to the last bit.
class Sequence {
   public:
    explicit Sequence(Machine& machine) : machine_(machine) {}

    // `sources` must live until `run`. Results may be written over the input of earlier layers, at the same pixels.
    void add(const Convolution& layer, std::vector<const Source*> sources, const Output& output) {
        steps_.push_back({&layer, std::move(sources), output});
    }
    void add(const Convolution& layer, const Tensor& in, const Output& output) {
        plain_.emplace_back(in);
        add(layer, {&plain_.back()}, output);
    }

    void run() const {
        for (size_t first = 0; first < steps_.size();) {
            size_t end = first + 1;
            while (steps_[first].layer->tile() && end < steps_.size() && steps_[end].layer->tile() &&
                   live_lines(first, end + 1) * BAND_MIN_WIDTH * bytes_per_pixel(first) <= CACHE)
                ++end;
            if (end == first + 1) {
                steps_[first].layer->run(machine_, steps_[first].sources, steps_[first].output);
            } else {
                run_together(first, end);
            }
            first = end;
        }
    }

   private:
    struct Step {
        const Convolution* layer;
        std::vector<const Source*> sources;
        Output output;
    };

    static constexpr size_t CACHE = 8 << 20;     // bytes: of what passes between layers
    static constexpr int BAND = 24;              // lines at once, a multiple of every tile
    static constexpr int BAND_MIN_WIDTH = 192;   // columns at once, at least

    // Lines between the first that the last layer still has to write and the last that the first has written.
    size_t live_lines(size_t first, size_t end) const {
        size_t lines = BAND;
        for (size_t k = first; k < end; ++k) lines += steps_[k].layer->tile();
        return lines;
    }
    // Of a layer's result and of what lies between it and the next.
    size_t bytes_per_pixel(size_t step) const { return 2 * sizeof(float) * steps_[step].output.tensor.channels; }

    void run_together(size_t first, size_t end) const {
        const size_t count = end - first;
        const int height = steps_[first].sources[0]->height, width = steps_[first].sources[0]->width;
        const int fitting = static_cast<int>(CACHE / (live_lines(first, end) * bytes_per_pixel(first)));
        const int strips = std::max(1, (width + fitting / 2) / fitting);
        std::vector<int> left(count, 0), right(count), done(count);
        for (int strip = 0; strip < strips; ++strip) {
            int reach = strip + 1 == strips ? width : width * (strip + 1) / strips;
            for (size_t k = 0; k < count; ++k) right[k] = reach = reachable(reach, width, first + k, k == 0);
            std::fill(done.begin(), done.end(), 0);
            for (int band = BAND; done.back() < height; band += BAND) {
                int bottom = std::min(height, band);
                for (size_t k = 0; k < count; ++k) {
                    bottom = reachable(bottom, height, first + k, k == 0);
                    const Step& step = steps_[first + k];
                    if (bottom > done[k] && right[k] > left[k])
                        step.layer->run(machine_, step.sources, step.output, {done[k], left[k], bottom, right[k]});
                    done[k] = std::max(done[k], bottom);
                }
            }
            left = right;
        }
    }

    // How far a layer can be computed whose input is there up to `known`: a pixel less, in whole tiles.
    int reachable(int known, int size, size_t step, bool given) const {
        if (known >= size) return size;
        const int tile = steps_[step].layer->tile();
        return std::max(0, known - (given ? 0 : 1)) / tile * tile;
    }

    Machine& machine_;
    std::vector<Step> steps_;
    std::deque<Plain> plain_;
};

// `layers.ResidualBlock`: PReLU(x + beta * conv(PReLU(conv(x)))), beta folded into the second convolution.
class ResidualBlock {
   public:
    ResidualBlock(const Parameters& all, const std::string& name, int channels) {
        const ChannelMap map = channel_map(channels);
        first_ = std::make_unique<Convolution>(read_conv_prelu(all, name + ".conv1", channels, channels, 3),
                                               std::vector<ChannelMap>{map}, map);
        Filter filter = read_filter(all, name + ".conv2", channels, channels, 3);
        const float* beta = all.get(name + ".beta", channels);
        for (int c = 0; c < channels; ++c) filter.scale(c, beta[c]);
        filter.slope = read_slope(all, name + ".act", channels);
        second_ = std::make_unique<Convolution>(filter, std::vector<ChannelMap>{map}, map);
    }

    // `result` may be x: a task of the second convolution reads and writes the same pixels of it.
    void add_to(Sequence& layers, const Tensor& x, const Tensor& middle, const Tensor& result) const {
        layers.add(*first_, x, {middle});
        layers.add(*second_, middle, {result, x.data});
    }

   private:
    std::unique_ptr<Convolution> first_, second_;
};

}  // namespace safa
