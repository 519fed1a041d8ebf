// One face for both kinds of convolution, and the residual block that several stages are made of.
#pragma once

#include <memory>

#include "direct.h"
#include "stages.h"

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
    DECODED,
    DECODED_MIDDLE,
    WIDENED,
    RESIDUAL,
};

class Convolution {
   public:
    Convolution(const Filter& filter, const std::vector<ChannelMap>& sources, const ChannelMap& out, int stride = 1) {
        if (filter.size == 3 && stride == 1 && large_tiles_pay(filter)) {
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
        if (large_) {
            large_->run(machine.pool, machine.workspace, SCRATCH, sources, output);
        } else if (small_) {
            small_->run(machine.pool, machine.workspace, SCRATCH, sources, output);
        } else {
            direct_->run(machine.pool, machine.workspace, SCRATCH, sources, output);
        }
    }
    void run(Machine& machine, const Tensor& in, const Output& output) const {
        const Plain plain(in);
        run(machine, {&plain}, output);
    }

   private:
    // F(6) has a fifth fewer products but more weights: measured, it wins where they stay in the second-level cache,
    // and where there are so many input channels that they do not with F(4) either.
    static bool large_tiles_pay(const Filter& filter) {
        const int weights = F6::WINDOW * F6::WINDOW * filter.in_channels * filter.out_channels;
        return weights <= 1 << 18 || filter.in_channels >= 2 * filter.out_channels;
    }

    std::unique_ptr<Winograd<F6>> large_;
    std::unique_ptr<Winograd<F4>> small_;
    std::unique_ptr<Direct> direct_;
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

    // In place: a task of the second convolution reads and writes the same pixels of x.
    void run(Machine& machine, const Tensor& x, const Tensor& middle) const { run(machine, x, middle, x); }

    void run(Machine& machine, const Tensor& x, const Tensor& middle, const Tensor& result) const {
        first_->run(machine, x, {middle});
        second_->run(machine, middle, {result, x.data});
    }

   private:
    std::unique_ptr<Convolution> first_, second_;
};

}  // namespace safa
