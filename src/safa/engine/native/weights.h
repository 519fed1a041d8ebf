// The network's parameters as they come (PyTorch's names and layout), folded and packed for the kernels.
#pragma once

#include <cmath>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

#include "gemm.h"
#include "memory.h"

namespace safa {

struct Error : std::runtime_error {
    using std::runtime_error::runtime_error;
};

class Parameters {
   public:
    // `rounded`: convolutions made from these multiply bfloat16 where they can (`Filter::rounded`).
    explicit Parameters(bool rounded = false) : rounded_(rounded) {}
    virtual ~Parameters() = default;
    bool rounded() const { return rounded_; }
    void add(const char* name, const float* data, int64_t size) { entries_[name] = {data, size}; }
    const float* get(const std::string& name, int64_t size) const {
        const auto found = entries_.find(name);
        if (found == entries_.end()) return missing(name, size);
        if (found->second.size != size) {
            throw Error("the parameter " + name + " has " + std::to_string(found->second.size) + " values, not " +
                        std::to_string(size));
        }
        return found->second.data;
    }

   protected:
    virtual const float* missing(const std::string& name, int64_t) const {
        throw Error("there is no parameter " + name);
    }

   private:
    struct Entry {
        const float* data;
        int64_t size;
    };
    const bool rounded_;
    std::unordered_map<std::string, Entry> entries_;
};

// Where each channel we hold comes from in the network's own order; -1 is padding.
using ChannelMap = std::vector<int>;

inline void append_channels(ChannelMap& map, int first, int count) {
    const int size = static_cast<int>(map.size()) + padded(count);
    for (int k = 0; k < count; ++k) map.push_back(first + k);
    map.resize(size, -1);
}
inline ChannelMap channel_map(int channels) {
    ChannelMap map;
    append_channels(map, 0, channels);
    return map;
}

// One convolution in the network's order, already scaled by whatever linear layer follows it.
struct Filter {
    int out_channels = 0;
    int in_channels = 0;
    int size = 0;
    std::vector<float> weight;  // out, in, size, size
    std::vector<float> bias;    // out
    std::vector<float> slope;   // out; empty without activation
    bool rounded = false;       // may be multiplied as bfloat16

    float at(int out, int in, int y, int x) const {
        return weight[((static_cast<size_t>(out) * in_channels + in) * size + y) * size + x];
    }
    void scale(int out, double factor) {
        const size_t count = static_cast<size_t>(in_channels) * size * size;
        for (size_t k = 0; k < count; ++k) weight[out * count + k] = static_cast<float>(weight[out * count + k] * factor);
        bias[out] = static_cast<float>(bias[out] * factor);
    }
};

inline Filter read_filter(const Parameters& all, const std::string& name, int out, int in, int size, bool bias = true) {
    const int64_t count = static_cast<int64_t>(out) * in * size * size;
    const float* weight = all.get(name + ".weight", count);
    if (count <= 0) throw Error("the convolution " + name + " has no channels");
    Filter filter{out, in, size, {}, std::vector<float>(out, 0.0f), {}, all.rounded()};
    filter.weight.assign(weight, weight + count);
    if (bias) {
        const float* values = all.get(name + ".bias", out);
        filter.bias.assign(values, values + out);
    }
    return filter;
}

// A 3x3 filter whose results are flow or what is added to a picture: errors of these show, those before are weakened.
inline Filter read_exact_filter(const Parameters& all, const std::string& name, int out, int in) {
    Filter filter = read_filter(all, name, out, in, 3);
    filter.rounded = false;
    return filter;
}

inline std::vector<float> read_slope(const Parameters& all, const std::string& name, int channels) {
    const float* slope = all.get(name + ".weight", channels);
    return std::vector<float>(slope, slope + channels);
}

// `layers.ConvPReLU`.
inline Filter read_conv_prelu(const Parameters& all, const std::string& name, int out, int in, int size) {
    Filter filter = read_filter(all, name + ".conv", out, in, size);
    filter.slope = read_slope(all, name + ".act", out);
    return filter;
}

// A convolution without bias and the batch normalisation (running statistics) after it.
inline Filter read_normalized(const Parameters& all, const std::string& conv, const std::string& norm, int out, int in,
                              int size, bool relu) {
    constexpr double EPSILON = 1e-5;  // torch.nn.BatchNorm2d
    Filter filter = read_filter(all, conv, out, in, size, false);
    const float* gain = all.get(norm + ".weight", out);
    const float* shift = all.get(norm + ".bias", out);
    const float* mean = all.get(norm + ".running_mean", out);
    const float* variance = all.get(norm + ".running_var", out);
    for (int o = 0; o < out; ++o) {
        const double factor = gain[o] / std::sqrt(static_cast<double>(variance[o]) + EPSILON);
        filter.scale(o, factor);
        filter.bias[o] = static_cast<float>(shift[o] - mean[o] * factor);
    }
    if (relu) filter.slope.assign(out, 0.0f);
    return filter;
}

// Bias and slope per channel we hold.
struct Epilogue {
    Buffer bias;
    Buffer slope;
    bool active = false;

    void build(const Filter& filter, const ChannelMap& out) {
        float* b = bias.reserve(out.size());
        float* s = slope.reserve(out.size());
        active = !filter.slope.empty();
        for (size_t o = 0; o < out.size(); ++o) {
            b[o] = out[o] < 0 ? 0.0f : filter.bias[out[o]];
            s[o] = out[o] < 0 || !active ? 1.0f : filter.slope[out[o]];
        }
    }
    Vec apply(Vec value, int channel, const float* residual) const {
        value += load(bias.data() + channel);
        if (residual) value += load(residual);
        return active ? prelu(value, load(slope.data() + channel)) : value;
    }
};

}  // namespace safa
