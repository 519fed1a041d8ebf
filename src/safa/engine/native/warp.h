// Backward warping (bilinear, edges held) as a source: warped features are made where the convolution wants them.
#pragma once

#include <algorithm>

#include "source.h"

namespace safa {

constexpr int FLOW_CHANNELS = 6;

// The flow state. Input grid: height x width x 16, of which 6 are used. Paper grid: the state is twice as fine as the
// features; a feature pixel holds its four state pixels one after the other, 8 floats each, of which 6 are used.
struct FlowState {
    Tensor data;
    int finer;  // 1 or 2

    static int channels(int finer) { return finer == 2 ? 32 : CHANNEL_STEP; }

    // The six values seen from the feature grid (bilinear half size is the mean), as two vectors of 3 + 1 and 4.
    void coarse(int y, int x, Vec4& vectors, Vec4& rest) const {
        const float* p = data.at(y, x);
        vectors = load4(p);
        rest = load4(p + 4);
        if (finer == 2) {
            vectors = 0.25f * ((vectors + load4(p + 8)) + (load4(p + 16) + load4(p + 24)));
            rest = 0.25f * ((rest + load4(p + 12)) + (load4(p + 20) + load4(p + 28)));
        }
    }
};

// The four pixels around a position and their weights.
struct Corners {
    const float* pixel[4];
    float weight[4];

    Corners(const Tensor& image, float x, float y) {
        x = clamp_position(x, static_cast<float>(image.width - 1));
        y = clamp_position(y, static_cast<float>(image.height - 1));
        const int left = static_cast<int>(x), top = static_cast<int>(y);
        const float ax = x - left, ay = y - top;
        const ptrdiff_t right = left + 1 < image.width ? image.channels : 0;
        const ptrdiff_t bottom = top + 1 < image.height ? static_cast<ptrdiff_t>(image.width) * image.channels : 0;
        pixel[0] = image.at(top, left);
        pixel[1] = pixel[0] + right;
        pixel[2] = pixel[0] + bottom;
        pixel[3] = pixel[2] + right;
        weight[0] = (1.0f - ax) * (1.0f - ay);
        weight[1] = ax * (1.0f - ay);
        weight[2] = (1.0f - ax) * ay;
        weight[3] = ax * ay;
    }
};

// Features of frame 0 or 1 warped by the flow state and sampled; with a tail, 16 more channels: flow state (6), t, 0...
class Warped final : public Source {
   public:
    Warped(const Tensor& features, const FlowState& flow, int frame, Sampling sampling)
        : Source(features.height / sampling.step, features.width / sampling.step, features.channels),
          features_(features),
          flow_(flow),
          frame_(frame),
          sampling_(sampling) {}

    void row(int y, int x0, int x1, float* out, ptrdiff_t stride) const override {
        const float scale = 1.0f / flow_.finer;
        const int count = sampling_.count;
        for (int x = x0; x < x1; ++x, out += stride) {
            for (int k = 0; k < count * count; ++k) {
                const int fine_y = y * sampling_.step + sampling_.first + k / count;
                const int fine_x = x * sampling_.step + sampling_.first + k % count;
                Vec4 vectors, rest;
                flow_.coarse(fine_y, fine_x, vectors, rest);
                const Corners at(features_, fine_x + scale * vectors[2 * frame_], fine_y + scale * vectors[2 * frame_ + 1]);
                add(at, 1.0f / (count * count), k == 0, out);
            }
        }
    }

   private:
    void add(const Corners& at, float share, bool first, float* out) const {
        const Vec w0 = splat(share * at.weight[0]), w1 = splat(share * at.weight[1]);
        const Vec w2 = splat(share * at.weight[2]), w3 = splat(share * at.weight[3]);
        for (int c = 0; c < channels; c += LANES) {
            Vec sum = first ? Vec{} : load(out + c);
            sum += w0 * load(at.pixel[0] + c);
            sum += w1 * load(at.pixel[1] + c);
            sum += w2 * load(at.pixel[2] + c);
            sum += w3 * load(at.pixel[3] + c);
            store(out + c, sum);
        }
    }

    const Tensor features_;
    const FlowState flow_;
    const int frame_;
    const Sampling sampling_;
};

// What convolutions of a network with propagation are told of a flow on an axis, at most, in input pixels
// (`propagation.LARGEST_SEEN`).
constexpr float LARGEST_SEEN = 8.0f;

// The narrow end of a concatenated input, CHANNEL_STEP channels: with a flow state its 6 channels, the flows no larger than
// `most`, and t, else t alone.
class Tail final : public Source {
   public:
    Tail(int height, int width, float t) : Source(height, width, CHANNEL_STEP), flow_{}, t_(t), with_flow_(false) {}
    Tail(const FlowState& flow, float t, Sampling sampling, float most)
        : Source(flow.data.height / sampling.step, flow.data.width / sampling.step, CHANNEL_STEP),
          flow_(flow),
          t_(t),
          sampling_(sampling),
          most_(most),
          with_flow_(true) {}

    void row(int y, int x0, int x1, float* out, ptrdiff_t stride) const override {
        const int count = sampling_.count;
        const Vec4 none{};
        for (int x = x0; x < x1; ++x, out += stride) {
            Vec4 head{}, rest{};
            for (int k = 0; with_flow_ && k < count * count; ++k) {
                Vec4 a, b;
                flow_.coarse(y * sampling_.step + sampling_.first + k / count,
                             x * sampling_.step + sampling_.first + k % count, a, b);
                for (int axis = 0; axis < 4; ++axis) head[axis] += std::clamp(a[axis], -most_, most_) / (count * count);
                rest += b / static_cast<float>(count * count);
            }
            if (with_flow_) {
                rest[2] = t_;
                rest[3] = 0.0f;
            } else {
                head[0] = t_;
            }
            store4(out, head);
            store4(out + 4, rest);
            store4(out + 8, none);
            store4(out + 12, none);
        }
    }

   private:
    const FlowState flow_;
    const float t_;
    const Sampling sampling_{};
    const float most_{};
    const bool with_flow_;
};

}  // namespace safa
