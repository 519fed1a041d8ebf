// Features carried along a window of frames (`network/propagation.py`): one step of a pass, and a frame's own picture.
#pragma once

#include "layers.h"
#include "picture.h"
#include "settings.h"
#include "warp.h"

namespace safa {

// Nothing: what stands in the place of a neighbour's state at the window's end.
class Nothing final : public Source {
   public:
    Nothing(int height, int width, int channels) : Source(height, width, channels) {}
    void row(int, int x0, int x1, float* out, ptrdiff_t stride) const override {
        for (int x = x0; x < x1; ++x, out += stride) std::memset(out, 0, channels * sizeof(float));
    }
};

// What a step of a pass reads. `state` and `flow` (2, h, w: x then y) are null at the window's end.
struct Step {
    int height, width;
    const float* own[2];  // h, w, padded c: the frame's features, in the forward pass also its backward state
    const float* state;   // of the frame before in this pass
    const float* flow;    // classical flow to it
};

// `propagation.PropagationPass`.
class PropagationPass {
   public:
    PropagationPass(const Parameters& all, const std::string& name, const Settings& settings, int own) : own_(own) {
        const int c = settings.channels;
        std::vector<ChannelMap> seen(2);
        append_channels(seen[0], 0, c);
        append_channels(seen[1], c, c);
        append_channels(seen[1], 2 * c, 2);
        look_ = std::make_unique<Convolution>(
            read_conv_prelu(all, name + ".flow_change.0", FLOW_WIDTH, 2 * c + 2, 3), seen, channel_map(FLOW_WIDTH));
        change_ = std::make_unique<Convolution>(read_exact_filter(all, name + ".flow_change.1", 2, FLOW_WIDTH),
                                                std::vector<ChannelMap>{channel_map(FLOW_WIDTH)}, channel_map(2));
        std::vector<ChannelMap> joined(own + 1);
        for (int k = 0; k <= own; ++k) append_channels(joined[k], k * c, c);
        join_ = std::make_unique<Convolution>(read_conv_prelu(all, name + ".join", c, (own + 1) * c, 3), joined,
                                              channel_map(c));
        for (int k = 0; k < settings.propagation; ++k) body_.emplace_back(all, name + ".body." + std::to_string(k), c);
    }

    // The frame's state to `result`, which may be none of what the step reads; then `after` of it to `refined`, which may
    // be where the step's own second input lies.
    void run(Machine& machine, const Step& step, const Tensor& result, const ResidualBlock* after = nullptr,
             const Tensor& refined = {}) const {
        const auto grid = [&](const float* data) {
            return Tensor{const_cast<float*>(data), step.height, step.width, result.channels};
        };
        const Plain first(grid(step.own[0])), second(grid(step.own[own_ - 1]));
        std::vector<const Source*> sources{&first};
        if (own_ == 2) sources.push_back(&second);
        const Tensor middle = machine.workspace.tensor(MIDDLE, step.height, step.width, result.channels);
        const auto finish = [&](const Source& neighbour) {
            sources.push_back(&neighbour);
            Sequence layers(machine);
            layers.add(*join_, sources, {result});
            for (const ResidualBlock& block : body_) block.add_to(layers, result, middle, result);
            if (after) after->add_to(layers, result, middle, refined);
            layers.run();
        };
        if (step.state) {
            const FlowState flow = start(machine, step);
            const Warped warped(grid(step.state), flow, 0, Sampling{});
            change_flow(machine, first, warped, flow);
            finish(warped);
        } else {
            finish(Nothing(step.height, step.width, result.channels));
        }
    }

   private:
    static constexpr int FLOW_WIDTH = 16;

    static FlowState start(Machine& machine, const Step& step) {
        const FlowState flow{machine.workspace.tensor(FLOW, step.height, step.width, FlowState::channels(1)), 1};
        const size_t plane = static_cast<size_t>(step.height) * step.width;
        machine.pool.run(step.height, [&](int y, int) {
            for (int x = 0; x < step.width; ++x) {
                float* to = flow.data.at(y, x);
                std::memset(to, 0, flow.data.channels * sizeof(float));
                for (int axis = 0; axis < 2; ++axis)
                    to[axis] = step.flow[axis * plane + static_cast<size_t>(y) * step.width + x];
            }
        });
        return flow;
    }

    void change_flow(Machine& machine, const Source& own, const Source& warped, const FlowState& flow) const {
        const Tensor looked = machine.workspace.tensor(LOOKED, flow.data.height, flow.data.width, FLOW_WIDTH);
        const Tail vectors(flow, 0.0f, Sampling{}, LARGEST_SEEN);
        const Joined end(warped, vectors);
        look_->run(machine, {&own, &end}, {looked});
        change_->run(machine, looked, {flow.data, flow.data.data});
    }

    const int own_;
    std::unique_ptr<Convolution> look_, change_, join_;
    std::vector<ResidualBlock> body_;
};

// `propagation.Propagation`.
class Propagation {
   public:
    Propagation(const Parameters& all, const Settings& settings)
        : backward_(all, "propagation.backward_pass", settings, 1),
          forward_(all, "propagation.forward_pass", settings, 2),
          refine_(all, "propagation.refine", settings.channels),
          enlarger_(all, "propagation.decoder", settings) {
        if (!settings.joined_passes) return;
        const int c = settings.channels;
        ChannelMap own = channel_map(c), other;
        append_channels(other, c, c);
        joint_ = std::make_unique<Convolution>(read_conv_prelu(all, "propagation.joint", c, 2 * c, 1),
                                               std::vector<ChannelMap>{own, other}, channel_map(c));
    }

    void backward(Machine& machine, const Step& step, const Tensor& state) const { backward_.run(machine, step, state); }

    // `refined`: the features for everything that follows; it may lie where the step's backward state does.
    void forward(Machine& machine, const Step& step, const Tensor& state, const Tensor& refined) const {
        if (!joint_) {
            forward_.run(machine, step, state, &refine_, refined);
            return;
        }
        forward_.run(machine, step, state);
        Workspace& workspace = machine.workspace;
        const Tensor joined = workspace.tensor(JOINED, state.height, state.width, state.channels);
        const Tensor middle = workspace.tensor(MIDDLE, state.height, state.width, state.channels);
        const Plain first({const_cast<float*>(step.own[1]), state.height, state.width, state.channels}), second(state);
        joint_->run(machine, {&first, &second}, {joined});
        Sequence layers(machine);
        refine_.add_to(layers, joined, middle, refined);
        layers.run();
    }

    // What the frame's bicubic enlargement lacks, in cells.
    Tensor residual(Machine& machine, const Tensor& features) const {
        Sequence layers(machine);
        return enlarger_.run(machine, layers, features);
    }

   private:
    const PropagationPass backward_, forward_;
    const ResidualBlock refine_;
    const Enlarger enlarger_;
    std::unique_ptr<Convolution> joint_;
};

}  // namespace safa
