// Where a convolution's input comes from. A source makes pieces of rows on demand, so that resized, warped and
// concatenated inputs are never written to memory as a whole.
#pragma once

#include "memory.h"

namespace safa {

class Source {
   public:
    Source(int height, int width, int channels) : height(height), width(width), channels(channels) {}
    virtual ~Source() = default;

    // Pixels x0..x1-1 (all inside) of row y to out, `stride` floats from pixel to pixel.
    virtual void row(int y, int x0, int x1, float* out, ptrdiff_t stride) const = 0;
    // The whole input where it lies in memory as it is.
    virtual const Tensor* tensor() const { return nullptr; }

    // As `row` for any y and x: zeros outside, the padding of a convolution.
    void padded_row(int y, int x0, int x1, float* out, ptrdiff_t stride) const {
        const bool inside = y >= 0 && y < height;
        const int left = inside ? (x0 < 0 ? (x1 < 0 ? x1 : 0) : x0) : x1;
        const int right = inside ? (x1 > width ? (left > width ? left : width) : x1) : x1;
        zero(x0, left, out, stride);
        if (left < right) row(y, left, right, out + (left - x0) * stride, stride);
        zero(right, x1, out + (right - x0) * stride, stride);
    }

    const int height;
    const int width;
    const int channels;

   private:
    void zero(int x0, int x1, float* out, ptrdiff_t stride) const {
        for (int x = x0; x < x1; ++x, out += stride) std::memset(out, 0, channels * sizeof(float));
    }
};

// An activation as it lies in memory.
class Plain final : public Source {
   public:
    explicit Plain(const Tensor& tensor) : Source(tensor.height, tensor.width, tensor.channels), tensor_(tensor) {}
    void row(int y, int x0, int x1, float* out, ptrdiff_t stride) const override {
        const bool dense = stride == channels;
        const size_t piece = static_cast<size_t>(dense ? x1 - x0 : 1) * channels;
        for (int x = x0; x < x1; x += dense ? x1 - x0 : 1, out += stride)
            std::memcpy(out, tensor_.at(y, x), piece * sizeof(float));
    }
    const Tensor* tensor() const override { return &tensor_; }

   private:
    const Tensor tensor_;
};

// Which pixels of the feature grid one pixel of a smaller grid looks at, per axis: `count` neighbours from
// step * x + first, averaged. Bilinear reduction by a power of two is just that.
struct Sampling {
    int step = 1;
    int first = 0;
    int count = 1;

    static Sampling reduce(int factor) { return factor == 1 ? Sampling{} : Sampling{factor, factor / 2 - 1, 2}; }
    static Sampling every(int step) { return Sampling{step, 0, 1}; }
};

// A tensor seen on a grid `factor` times finer (bilinear, half-pixel centres), then sampled.
class Resampled final : public Source {
   public:
    Resampled(const Tensor& tensor, int factor, Sampling sampling)
        : Source(tensor.height * factor / sampling.step, tensor.width * factor / sampling.step, tensor.channels),
          tensor_(tensor),
          factor_(factor),
          sampling_(sampling) {}

    void row(int y, int x0, int x1, float* out, ptrdiff_t stride) const override {
        const Taps down = taps(y, tensor_.height);
        for (int x = x0; x < x1; ++x, out += stride) {
            const Taps across = taps(x, tensor_.width);
            const float* pixels[9];
            float weights[9];
            int used = 0;
            for (int i = 0; i < down.used; ++i)
                for (int j = 0; j < across.used; ++j, ++used) {
                    pixels[used] = tensor_.at(down.index[i], across.index[j]);
                    weights[used] = down.weight[i] * across.weight[j];
                }
            for (int c = 0; c < channels; c += LANES) {
                Vec sum = splat(weights[0]) * load(pixels[0] + c);
                for (int k = 1; k < used; ++k) sum += splat(weights[k]) * load(pixels[k] + c);
                store(out + c, sum);
            }
        }
    }
    const Tensor* tensor() const override {
        return factor_ == 1 && sampling_.step == 1 ? &tensor_ : nullptr;
    }

   private:
    struct Taps {
        int index[3];
        float weight[3];
        int used;
    };

    // Neighbouring fine pixels share their coarse neighbours: at most three pixels of the tensor per axis.
    Taps taps(int position, int size) const {
        Taps result{{0, 0, 0}, {0, 0, 0}, 0};
        int base = 0;
        for (int k = 0; k < sampling_.count; ++k) {
            const int fine = position * sampling_.step + sampling_.first + k;
            float at = (fine + 0.5f) / factor_ - 0.5f;
            at = at > 0.0f ? at : 0.0f;
            const int low = static_cast<int>(at);
            if (k == 0) base = low;
            const float share = at - low;
            result.weight[low - base] += (1.0f - share) / sampling_.count;
            if (share > 0.0f) result.weight[low - base + 1] += share / sampling_.count;
        }
        for (int k = 0; k < 3; ++k) {
            if (result.weight[k] == 0.0f) continue;
            result.index[result.used] = base + k < size ? base + k : size - 1;
            result.weight[result.used++] = result.weight[k];
        }
        return result;
    }

    const Tensor tensor_;
    const int factor_;
    const Sampling sampling_;
};

// Two sources side by side along channels: a narrow one alone would make for short, inefficient products.
class Joined final : public Source {
   public:
    Joined(const Source& first, const Source& second)
        : Source(first.height, first.width, first.channels + second.channels), first_(first), second_(second) {}
    void row(int y, int x0, int x1, float* out, ptrdiff_t stride) const override {
        first_.row(y, x0, x1, out, stride);
        second_.row(y, x0, x1, out + first_.channels, stride);
    }

   private:
    const Source& first_;
    const Source& second_;
};

}  // namespace safa
