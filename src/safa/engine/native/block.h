// Scale-adaptive flow block and scale selector (`network/flow.py`, `network/selector.py`).
#pragma once

#include "layers.h"
#include "settings.h"
#include "warp.h"

namespace safa {

// A hidden state on a grid `factor` times coarser than the features; it is enlarged only where it is read.
struct Hidden {
    Tensor tensor;
    int factor;
};

// The concatenated input of a block, never written to memory: hidden, both warped features, flow state and t.
struct BlockInput {
    // `most`: of the flows that are seen.
    BlockInput(const Hidden& hidden, const Tensor& features0, const Tensor& features1, const FlowState& flow, float t,
               Sampling sampling, float most)
        : state(hidden.tensor, hidden.factor, sampling),
          warped0(features0, flow, 0, sampling),
          warped1(features1, flow, 1, sampling),
          tail(flow, t, sampling, most),
          end(warped1, tail) {}
    BlockInput(const BlockInput&) = delete;
    BlockInput& operator=(const BlockInput&) = delete;

    std::vector<const Source*> sources() const { return {&state, &warped0, &end}; }

    // Channels in the network's own order: hidden, flow state, warped 0, warped 1, t.
    static std::vector<ChannelMap> maps(int c) {
        std::vector<ChannelMap> maps(3);
        append_channels(maps[0], 0, c);
        append_channels(maps[1], c + FLOW_CHANNELS, c);
        append_channels(maps[2], 2 * c + FLOW_CHANNELS, c);
        append_channels(maps[2], c, FLOW_CHANNELS);
        maps[2][padded(c) + FLOW_CHANNELS] = 3 * c + FLOW_CHANNELS;
        return maps;
    }
    static int channels(int c) { return 3 * c + FLOW_CHANNELS + 1; }

    const Resampled state;
    const Warped warped0, warped1;
    const Tail tail;
    const Joined end;
};

// `flow.Branch`.
class Branch {
   public:
    Branch(const Parameters& all, const std::string& name, int channels)
        : stem_(read_conv_prelu(all, name + ".stem", channels, BlockInput::channels(channels), 3),
                BlockInput::maps(channels), channel_map(channels)) {
        for (int k = 0; k < 2; ++k) body_.emplace_back(all, name + ".body." + std::to_string(k), channels);
    }

    void run(Machine& machine, const BlockInput& input, const Tensor& result) const {
        Sequence layers(machine);
        layers.add(stem_, input.sources(), {result});
        add_body(machine, layers, result);
        layers.run();
    }

    void after_stem(Machine& machine, const Tensor& result) const {
        Sequence layers(machine);
        add_body(machine, layers, result);
        layers.run();
    }

   private:
    void add_body(Machine& machine, Sequence& layers, const Tensor& result) const {
        const Tensor middle = machine.workspace.tensor(MIDDLE, result.height, result.width, result.channels);
        for (const ResidualBlock& block : body_) block.add_to(layers, result, middle, result);
    }

    Convolution stem_;
    std::vector<ResidualBlock> body_;
};

// The first block of a network without a flow prior. Its flow is zero whatever the time, so that its stem sees unmoved
// features beside two constants, the blend logit and t: what belongs to the features is computed once for all times.
class FirstStem {
   public:
    FirstStem(const Parameters& all, const std::string& name, int channels)
        : filter_(read_conv_prelu(all, name + ".stem", channels, BlockInput::channels(channels), 3)),
          logit_(channels + LOGIT),
          time_(BlockInput::channels(channels) - 1) {
        std::vector<ChannelMap> sources(3);
        append_channels(sources[0], 0, channels);
        append_channels(sources[1], channels + FLOW_CHANNELS, channels);
        append_channels(sources[2], 2 * channels + FLOW_CHANNELS, channels);
        Filter still = filter_;
        still.slope.clear();
        still_ = std::make_unique<Convolution>(still, sources, channel_map(channels));
    }

    // What does not depend on time, at a scale `factor` times coarser than the features.
    void prepare(Machine& machine, const Tensor& hidden, const Tensor& features0, const Tensor& features1, int factor,
                 const Tensor& still) const {
        const Sampling sampling = Sampling::reduce(factor);
        const Resampled state(hidden, 1, sampling), first(features0, 1, sampling), second(features1, 1, sampling);
        still_->run(machine, {&state, &first, &second}, {still});
    }

    // The stem's result: adds the constants, which count less at the edges because of the convolution's padding.
    void finish(Machine& machine, const Tensor& still, float logit, float t, const Tensor& result) const {
        const int channels = still.channels;
        float* change = machine.workspace.per_thread(SUMS, 16, channels);  // for each kind of edge
        float* slope = machine.workspace.per_thread(SCRATCH, 1, channels);
        std::fill(change, change + 16 * static_cast<size_t>(channels), 0.0f);
        std::fill(slope, slope + channels, 1.0f);
        for (int c = 0; c < filter_.out_channels; ++c) {
            slope[c] = filter_.slope[c];
            for (int kind = 0; kind < 16; ++kind)
                for (int v = kind & TOP ? 1 : 0; v < (kind & BOTTOM ? 2 : 3); ++v)
                    for (int u = kind & LEFT ? 1 : 0; u < (kind & RIGHT ? 2 : 3); ++u)
                        change[kind * channels + c] += logit * filter_.at(c, logit_, v, u) + t * filter_.at(c, time_, v, u);
        }
        machine.pool.run(still.height, [&](int y, int) {
            const int row = (y == 0 ? TOP : 0) | (y + 1 == still.height ? BOTTOM : 0);
            for (int x = 0; x < still.width; ++x) {
                const int kind = row | (x == 0 ? LEFT : 0) | (x + 1 == still.width ? RIGHT : 0);
                for (int c = 0; c < channels; c += LANES)
                    store(result.at(y, x) + c,
                          prelu(load(still.at(y, x) + c) + load(change + kind * channels + c), load(slope + c)));
            }
        });
    }

   private:
    enum Edge { TOP = 1, BOTTOM = 2, LEFT = 4, RIGHT = 8 };
    static constexpr int LOGIT = 4;  // of the flow state's channels
    const Filter filter_;
    const int logit_, time_;  // input channels of the stem
    std::unique_ptr<Convolution> still_;
};

// Pixels of a grid, the last line and column excluded.
struct Region {
    int top, left, bottom, right;
};

// Logits of the binary choices from a block's input on every second pixel.
class Selector {
   public:
    Selector(const Parameters& all, const Settings& settings)
        : channels_(settings.channels), choices_(settings.scales - 1) {
        const ChannelMap out = channel_map(channels_);
        ChannelMap in;
        for (const ChannelMap& map : BlockInput::maps(channels_)) in.insert(in.end(), map.begin(), map.end());
        in_channels_ = static_cast<int>(in.size());
        squeeze_ = std::make_unique<Direct>(
            read_conv_prelu(all, "selector.squeeze", channels_, BlockInput::channels(channels_), 1), in, out, 1);
        look_ = std::make_unique<Direct>(read_conv_prelu(all, "selector.look", channels_, channels_, 1), out, out, 1);
        const float* weight = all.get("selector.decide.weight", static_cast<int64_t>(choices_) * channels_);
        const float* bias = all.get("selector.decide.bias", choices_);
        weight_.assign(weight, weight + static_cast<size_t>(choices_) * channels_);
        bias_.assign(bias, bias + choices_);
    }

    // Looks at `region` of the input, writes the K - 1 logits and returns the chosen scale.
    int choose(Machine& machine, const BlockInput& input, const Region& region, float* logits) const {
        const int height = region.bottom - region.top, width = region.right - region.left, wide = squeeze_->channels();
        const int chunks = (width + Direct::CHUNK - 1) / Direct::CHUNK, pixels = Direct::CHUNK;
        const size_t stride = static_cast<size_t>(pixels) * (in_channels_ + 2 * wide);
        float* scratch = machine.workspace.per_thread(SCRATCH, machine.pool.threads(), stride);
        // One sum for each line, so that the result does not depend on the number of threads.
        const Tensor sums = machine.workspace.tensor(SUMS, height, 1, wide);
        const std::vector<const Source*> sources = input.sources();  // here: a job must not allocate
        machine.pool.run(height, [&](int y, int thread) {
            float* in = scratch + stride * thread;
            float* squeezed = in + static_cast<size_t>(pixels) * in_channels_;
            float* looked = squeezed + static_cast<size_t>(pixels) * wide;
            std::memset(sums.at(y, 0), 0, wide * sizeof(float));
            for (int chunk = 0; chunk < chunks; ++chunk) {
                const int x0 = chunk * Direct::CHUNK, x1 = std::min(width, x0 + Direct::CHUNK);
                int channel = 0;
                for (const Source* source : sources) {
                    source->row(region.top + y, region.left + x0, region.left + x1, in + channel, in_channels_);
                    channel += source->channels;
                }
                squeeze_->apply(in, x1 - x0, squeezed);
                look_->apply(squeezed, x1 - x0, looked);
                for (int c = 0; c < wide; c += LANES) {
                    Vec sum = load(sums.at(y, 0) + c);
                    for (int x = 0; x < x1 - x0; ++x) sum += load(looked + static_cast<size_t>(x) * wide + c);
                    store(sums.at(y, 0) + c, sum);
                }
            }
        });
        return decide(sums, static_cast<double>(height) * width, logits);
    }

   private:
    int decide(const Tensor& sums, double pixels, float* logits) const {
        int chosen = 0;
        for (int k = 0; k < choices_; ++k) {
            double logit = bias_[k];
            for (int c = 0; c < channels_; ++c) {
                double total = 0;
                for (int y = 0; y < sums.height; ++y) total += sums.at(y, 0)[c];
                logit += weight_[static_cast<size_t>(k) * channels_ + c] * (total / pixels);
            }
            logits[k] = static_cast<float>(logit);
            if (!(logits[k] > 0)) chosen = k + 1;
        }
        return chosen;
    }

    const int channels_;
    const int choices_;
    int in_channels_ = 0;
    std::unique_ptr<Direct> squeeze_, look_;
    std::vector<float> weight_, bias_;
};

}  // namespace safa
