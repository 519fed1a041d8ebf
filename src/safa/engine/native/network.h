// The whole network (`network/safa.py`): its parameters, and the order in which its parts run.
#pragma once

#include "block.h"
#include "encoder.h"
#include "picture.h"
#include "propagation.h"

namespace safa {

// `synthesis.Decoder`.
class Decoder {
   public:
    Decoder(const Parameters& all, const Settings& settings)
        : stride_(settings.paper_grid ? 2 : 1), half_(padded(settings.channels / 2)) {
        const int c = settings.channels;
        std::vector<ChannelMap> sources(2);
        append_channels(sources[0], 1, c);
        append_channels(sources[1], 1 + c, c);
        append_channels(sources[1], 0, 1);
        stem_ = std::make_unique<Convolution>(read_conv_prelu(all, "decoder.stem", c, 2 * c + 1, 3), sources,
                                              channel_map(c), stride_);
        for (int k = 0; k < settings.decoder_blocks; ++k)
            body_.emplace_back(all, "decoder.body." + std::to_string(k), c);
        ChannelMap cells(4 * half_, -1);  // PixelShuffle: channel 4 k + s is channel k of pixel s of a 2x2 cell
        for (int o = 0; o < 2 * c; ++o) cells[(o % 4) * half_ + o / 4] = o;
        widen_ = std::make_unique<Convolution>(read_conv_prelu(all, "decoder.widen", 2 * c, c, 3),
                                               std::vector<ChannelMap>{channel_map(c)}, cells);
        ChannelMap colours(16, -1);
        for (int o = 0; o < 12; ++o) colours[(o % 4) * 4 + o / 4] = o;
        head_ = std::make_unique<Convolution>(read_filter(all, "decoder.head", 12, c / 2, 3),
                                              std::vector<ChannelMap>{channel_map(c / 2)}, colours);
    }

    // Residual in cells: a quarter of the output's pixels, each 2x2 pixels of 4 floats.
    Tensor run(Machine& machine, const Tensor& features0, const Tensor& features1, const FlowState& flow, float t) const {
        Workspace& workspace = machine.workspace;
        const int height = features0.height / stride_, width = features0.width / stride_;
        const Warped warped0(features0, flow, 0, Sampling{}), warped1(features1, flow, 1, Sampling{});
        const Tail tail(features0.height, features0.width, t);
        const Tensor x = workspace.tensor(DECODED, height, width, features0.channels);
        const Tensor middle = workspace.tensor(DECODED_MIDDLE, height, width, features0.channels);
        const Tensor wide = workspace.tensor(WIDENED, 2 * height, 2 * width, half_);
        const Joined end(warped1, tail);
        Sequence layers(machine);
        layers.add(*stem_, {&warped0, &end}, {x});
        for (const ResidualBlock& block : body_) block.add_to(layers, x, middle, x);
        layers.add(*widen_, x, {wide, nullptr, true});
        layers.run();
        const Tensor residual = workspace.tensor(RESIDUAL, 2 * height, 2 * width, 16);
        head_->run(machine, wide, {residual});
        return residual;
    }

   private:
    const int stride_;
    const int half_;
    std::unique_ptr<Convolution> stem_, widen_, head_;
    std::vector<ResidualBlock> body_;
};

// `synthesis.LightDecoder`.
class LightDecoder {
   public:
    LightDecoder(const Parameters& all, const Settings& settings)
        : enlarger_(all, "decoder", settings) {
        const int c = settings.channels;
        std::vector<ChannelMap> sources(3);
        for (int k = 0; k < 3; ++k) append_channels(sources[k], 1 + k * c, c);  // warped 0, warped 1, hidden
        append_channels(sources[2], 0, 1);
        stem_ = std::make_unique<Convolution>(read_conv_prelu(all, "decoder.stem", c, 3 * c + 1, 3), sources,
                                              channel_map(c));
        for (int k = 0; k < settings.decoder_blocks; ++k)
            body_.emplace_back(all, "decoder.body." + std::to_string(k), c);
    }

    // Residual in cells.
    Tensor run(Machine& machine, const Tensor& features0, const Tensor& features1, const FlowState& flow, float t,
               const Hidden& hidden) const {
        Workspace& workspace = machine.workspace;
        const int height = features0.height, width = features0.width;
        const Warped warped0(features0, flow, 0, Sampling{}), warped1(features1, flow, 1, Sampling{});
        const Resampled state(hidden.tensor, hidden.factor, Sampling{});
        const Tail tail(height, width, t);
        const Joined end(state, tail);
        const Tensor x = workspace.tensor(DECODED, height, width, features0.channels);
        const Tensor middle = workspace.tensor(DECODED_MIDDLE, height, width, features0.channels);
        Sequence layers(machine);
        layers.add(*stem_, {&warped0, &warped1, &end}, {x});
        for (const ResidualBlock& block : body_) block.add_to(layers, x, middle, x);
        return enlarger_.run(machine, layers, x);
    }

   private:
    std::unique_ptr<Convolution> stem_;
    const Enlarger enlarger_;
    std::vector<ResidualBlock> body_;
};

// What a pair brings to a synthesis. Sizes follow from the frame's height and width.
struct Pair {
    int height, width;            // of the frame
    const float* pictures[2];     // 4h, 4w, 4
    const float* features[2];     // Hf, Wf, padded c
    const float* hidden;          // Hf, Wf, padded c
    const float* prior[3];        // flow 0->1, 1->0 and its acceleration: 2, h, w each, or null
    float* still[4];              // without prior: what `FirstStem` prepares at each scale, Hf, Wf, padded c over factor
    int32_t* prepared;            // 4: which of these it has prepared
    int region[4];                // of the frame, for the selector: top, left, bottom, right; even
};

class Network {
   public:
    Network(const Settings& settings, const Parameters& all)
        : settings_(settings), finer_(settings.paper_grid ? 2 : 1), encoder_(all, settings) {
        const int c = settings.channels;
        ChannelMap first = channel_map(c), second;
        append_channels(second, c, c);
        first_hidden_ = std::make_unique<Convolution>(read_conv_prelu(all, "first_hidden", c, 2 * c, 3),
                                                      std::vector<ChannelMap>{first, second}, channel_map(c));
        branches_.resize(settings.blocks);
        for (int block = 0; block < settings.blocks; ++block)
            for (int k = 0; k < (settings.shared_branches ? 1 : settings.scales); ++k)
                branches_[block].emplace_back(
                    all, "blocks." + std::to_string(block) + ".branches." + std::to_string(k), c);
        if (!settings.flow_prior)
            for (int k = 0; k < (settings.shared_branches ? 1 : settings.scales); ++k)
                first_stems_.emplace_back(all, "blocks.0.branches." + std::to_string(k), c);
        if (settings.fixed_scale < 0 && settings.scales > 1) selector_ = std::make_unique<Selector>(all, settings);
        ChannelMap cells(FlowState::channels(finer_), -1);
        const int sub = finer_ * finer_;
        for (int o = 0; o < FLOW_CHANNELS * sub; ++o) cells[(o % sub) * 8 + o / sub] = o;
        flow_head_ = std::make_unique<Convolution>(read_exact_filter(all, "flow_head.0", FLOW_CHANNELS * sub, c),
                                                   std::vector<ChannelMap>{channel_map(c)}, cells);
        if (settings.propagation) {
            propagation_ = std::make_unique<Propagation>(all, settings);
            light_decoder_ = std::make_unique<LightDecoder>(all, settings);
        } else if (settings.feature_fusion) {
            decoder_ = std::make_unique<Decoder>(all, settings);
        }
    }

    Machine& machine() { return machine_; }

    void encode_frame(const Frame& frame, float* picture, float* features) {
        const Tensor low = copy_frame(machine_, frame);
        const Tensor high{picture, SCALE * frame.height, SCALE * frame.width, 4};
        {
            const StageTimer timer(machine_.seconds, ENLARGING);
            enlarge(machine_, low, high);
        }
        const StageTimer timer(machine_.seconds, EXTRACTOR);
        encoder_.run(machine_, settings_.paper_grid ? high : low, grid(frame.height, frame.width, features));
    }

    // The rest up to `encode_pair` is for networks with propagation: first the features of a window's frames by
    // themselves, then a step of the backward pass for each, a step of the forward pass for each, then the frames.

    void extract(const Frame& frame, float* features) {
        const StageTimer timer(machine_.seconds, EXTRACTOR);
        encoder_.run(machine_, copy_frame(machine_, frame), grid(frame.height, frame.width, features));
    }

    // `refined` null: a step of the backward pass. Otherwise of the forward pass, see `Propagation::forward`.
    void carry(const Step& step, float* state, float* refined) {
        const StageTimer timer(machine_.seconds, PROPAGATION);
        const Tensor to = grid(step.height, step.width, state);
        if (refined) {
            propagation().forward(machine_, step, to, grid(step.height, step.width, refined));
        } else {
            propagation().backward(machine_, step, to);
        }
    }

    void finish_frame(const Frame& frame, const float* features, float* picture) {
        Tensor residual;
        {
            const StageTimer timer(machine_.seconds, DECODER);
            residual = propagation().residual(machine_, grid(frame.height, frame.width, features));
        }
        const StageTimer timer(machine_.seconds, ENLARGING);
        enlarge(machine_, copy_frame(machine_, frame), {picture, SCALE * frame.height, SCALE * frame.width, 4}, &residual);
    }

    // A picture of `finish_frame` or `encode_frame`, 4h, 4w, 4, as a result, 4h, 4w, 3, in [0, 1].
    void show(const float* picture, int height, int width, float* image) {
        const StageTimer timer(machine_.seconds, ENLARGING);
        copy_picture(machine_, {const_cast<float*>(picture), SCALE * height, SCALE * width, 4}, image);
    }

    void encode_pair(int height, int width, const float* features0, const float* features1, float* hidden) {
        const StageTimer timer(machine_.seconds, FIRST_HIDDEN);
        const Plain first(grid(height, width, features0)), second(grid(height, width, features1));
        first_hidden_->run(machine_, {&first, &second}, {grid(height, width, hidden)});
    }

    // `forced`: a scale for each block, below 0 where the selector decides. `chosen` (blocks) and, for what the selector
    // decided, `logits` (blocks x K-1) are written.
    void synthesize(const Pair& pair, float t, const int32_t* forced, const Result& result, int32_t* chosen,
                    float* logits) {
        Workspace& workspace = machine_.workspace;
        const Tensor features0 = grid(pair.height, pair.width, pair.features[0]);
        const Tensor features1 = grid(pair.height, pair.width, pair.features[1]);
        Hidden hidden{grid(pair.height, pair.width, pair.hidden), 1};
        const FlowState flow = first_flow(pair, t, features0.height, features0.width);
        const auto looked = [&](int k) { return pair.region[k] * finer_ / 2; };  // the selector skips every second pixel
        const Region region{looked(0), looked(1), looked(2), looked(3)};
        const float most = settings_.propagation ? LARGEST_SEEN : std::numeric_limits<float>::infinity();
        for (int block = 0; block < settings_.blocks; ++block) {
            int scale = forced[block] < 0 ? std::max(0, settings_.fixed_scale) : forced[block];
            if (forced[block] < 0 && selector_) {
                const StageTimer timer(machine_.seconds, SELECTOR);
                const BlockInput seen(hidden, features0, features1, flow, t, Sampling::every(2), most);
                scale = selector_->choose(machine_, seen, region, logits + block * (settings_.scales - 1));
            }
            chosen[block] = scale;
            const int factor = settings_.factors[scale];
            const BlockInput input(hidden, features0, features1, flow, t, Sampling::reduce(factor), most);
            hidden = {workspace.tensor(block % 2 ? OTHER_HIDDEN : HIDDEN, features0.height / factor,
                                       features0.width / factor, features0.channels),
                      factor};
            const Branch& branch = branches_[block][scale % branches_[block].size()];
            {
                const StageTimer timer(machine_.seconds, BLOCKS);
                if (block == 0 && !first_stems_.empty()) {
                    run_first(pair, scale, t, hidden.tensor, features0, features1);
                    branch.after_stem(machine_, hidden.tensor);
                } else {
                    branch.run(machine_, input, hidden.tensor);
                }
            }
            const StageTimer timer(machine_.seconds, FLOW_HEAD);
            const Resampled enlarged(hidden.tensor, factor, Sampling{});
            flow_head_->run(machine_, {&enlarged}, {flow.data, flow.data.data});
        }
        finish(pair, features0, features1, flow, t, hidden, result);
    }

   private:
    const Propagation& propagation() const {
        if (!propagation_) throw Error("this network looks at two frames only");
        return *propagation_;
    }

    Tensor grid(int height, int width, const float* data) const {
        const int factor = settings_.paper_grid ? 2 : 1;  // features live at half the output size, or the frame's
        return {const_cast<float*>(data), factor * height, factor * width, padded(settings_.channels)};
    }

    float first_logit(float t) const { return settings_.blend_prior ? std::log((1 - t + 0.02f) / (t + 0.02f)) : 0.0f; }

    void run_first(const Pair& pair, int scale, float t, const Tensor& result, const Tensor& features0,
                   const Tensor& features1) {
        const FirstStem& stem = first_stems_[scale % first_stems_.size()];
        const Tensor still{pair.still[scale], result.height, result.width, result.channels};
        if (!pair.prepared[scale]) {
            const Tensor hidden = grid(pair.height, pair.width, pair.hidden);
            stem.prepare(machine_, hidden, features0, features1, settings_.factors[scale], still);
            pair.prepared[scale] = 1;
        }
        stem.finish(machine_, still, first_logit(t), t, result);
    }

    FlowState first_flow(const Pair& pair, float t, int height, int width) {
        const FlowState flow{machine_.workspace.tensor(FLOW, height, width, FlowState::channels(finer_)), finer_};
        const Tensor prior = machine_.workspace.tensor(PRIOR, pair.height, pair.width, 4);
        const bool given = pair.prior[0] && pair.prior[1];
        if (given) flow_from_time(machine_, pair.prior, t, prior);
        start_flow(machine_, flow, given ? &prior : nullptr, first_logit(t), settings_.blend_prior != 0);
        return flow;
    }

    void finish(const Pair& pair, const Tensor& features0, const Tensor& features1, const FlowState& flow, float t,
                const Hidden& hidden, const Result& result) {
        Tensor pictures[2], residual;
        for (int k = 0; k < 2; ++k)
            pictures[k] = {const_cast<float*>(pair.pictures[k]), SCALE * pair.height, SCALE * pair.width, 4};
        if (decoder_) {
            const StageTimer timer(machine_.seconds, DECODER);
            residual = decoder_->run(machine_, features0, features1, flow, t);
        } else if (light_decoder_) {
            const StageTimer timer(machine_.seconds, DECODER);
            residual = light_decoder_->run(machine_, features0, features1, flow, t, hidden);
        }
        const StageTimer timer(machine_.seconds, IMAGE_FUSION);
        const Tensor full = unpack_flow(machine_, flow, result);
        const bool fusion = settings_.image_fusion != 0;
        const auto blend = propagation_ ? compose<sample_bicubic> : compose<sample>;
        blend(machine_, full, fusion ? &pictures[0] : nullptr, fusion ? &pictures[1] : nullptr,
              residual.data ? &residual : nullptr, SCALE * pair.height, SCALE * pair.width, result);
    }

    const Settings settings_;
    const int finer_;
    Machine machine_;
    Encoder encoder_;
    std::unique_ptr<Convolution> first_hidden_, flow_head_;
    std::vector<std::vector<Branch>> branches_;
    std::vector<FirstStem> first_stems_;
    std::unique_ptr<Selector> selector_;
    std::unique_ptr<Decoder> decoder_;
    std::unique_ptr<Propagation> propagation_;
    std::unique_ptr<LightDecoder> light_decoder_;
};

}  // namespace safa
