// Work on pictures and flow outside of the convolutions: bicubic enlargement, first flow, image fusion.
// Pictures hold four floats a pixel: red, green, blue and an unused one.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "layers.h"
#include "settings.h"
#include "warp.h"

namespace safa {

constexpr int SCALE = 4;

// A residual's cells: the SCALE x SCALE output pixels of one input pixel, four floats each.
constexpr int CELL = SCALE * SCALE * 4;

// A 3x3 convolution from `channels` to cells: PixelShuffle(SCALE) of three colours, left as it lies.
inline Convolution read_cells(const Parameters& all, const std::string& name, int channels) {
    constexpr int PIXELS = SCALE * SCALE;
    ChannelMap colours(CELL, -1);
    for (int o = 0; o < 3 * PIXELS; ++o) colours[(o % PIXELS) * 4 + o / PIXELS] = o;
    return Convolution(read_exact_filter(all, name, 3 * PIXELS, channels), {channel_map(channels)}, colours);
}

// `layers.Enlarger`: features to a residual in cells of 4 x 4 pixels or, in two steps, of 2 x 2 pixels.
class Enlarger {
   public:
    Enlarger(const Parameters& all, const std::string& name, const Settings& settings)
        : middle_(padded(settings.enlarger_channels)) {
        const int c = settings.channels, m = settings.enlarger_channels;
        if (!m) {
            head_ = std::make_unique<Convolution>(read_cells(all, name + ".head", c));
            return;
        }
        ChannelMap cells(4 * middle_, -1);  // PixelShuffle: channel 4 k + s is channel k of pixel s of a 2x2 cell
        for (int o = 0; o < 4 * m; ++o) cells[(o % 4) * middle_ + o / 4] = o;
        widen_ = std::make_unique<Convolution>(read_conv_prelu(all, name + ".widen", 4 * m, c, 3),
                                               std::vector<ChannelMap>{channel_map(c)}, cells);
        ChannelMap colours(16, -1);
        for (int o = 0; o < 12; ++o) colours[(o % 4) * 4 + o / 4] = o;
        head_ = std::make_unique<Convolution>(read_exact_filter(all, name + ".head", 12, m),
                                              std::vector<ChannelMap>{channel_map(m)}, colours);
    }

    // Runs `layers`, whose last one writes `features`, and then this.
    Tensor run(Machine& machine, Sequence& layers, const Tensor& features) const {
        Workspace& workspace = machine.workspace;
        const int height = features.height, width = features.width;
        if (!widen_) {
            const Tensor residual = workspace.tensor(RESIDUAL, height, width, CELL);
            layers.add(*head_, features, {residual});
            layers.run();
            return residual;
        }
        const Tensor wide = workspace.tensor(WIDENED, 2 * height, 2 * width, middle_);
        layers.add(*widen_, features, {wide, nullptr, true});
        layers.run();
        const Tensor residual = workspace.tensor(RESIDUAL, 2 * height, 2 * width, 16);
        head_->run(machine, wide, {residual});
        return residual;
    }

   private:
    const int middle_;
    std::unique_ptr<Convolution> widen_, head_;
};

// Frame as the caller has it, read through strides (in floats) over channels, lines and pixels.
struct Frame {
    const float* data;
    int height, width;
    int64_t channel_step, line_step, pixel_step;
};

inline Tensor copy_frame(Machine& machine, const Frame& frame) {
    const Tensor copy = machine.workspace.tensor(PICTURE, frame.height, frame.width, 4);
    machine.pool.run(frame.height, [&](int y, int) {
        for (int x = 0; x < frame.width; ++x)
            for (int c = 0; c < 3; ++c)
                copy.at(y, x)[c] = frame.data[c * frame.channel_step + y * frame.line_step + x * frame.pixel_step];
    });
    return copy;
}

// Weights of the four pixels around a place that is `share` of the way from the second to the third; a = -0.75.
template <typename Number>
inline void cubic_weights(Number share, Number* weights) {
    constexpr Number a = Number(-0.75);
    const Number rest = 1 - share, both = a * share * rest;
    weights[0] = both * rest;
    weights[1] = ((a + 2) * share - (a + 3)) * share * share + 1;
    weights[2] = ((a + 2) * rest - (a + 3)) * rest * rest + 1;
    weights[3] = both * share;
}

// Bicubic (edges held), four times: `operations.bicubic_upsample`; plus `residual` in cells of either size, unless null.
inline void enlarge(Machine& machine, const Tensor& from, const Tensor& to, const Tensor* residual = nullptr) {
    float taps[SCALE][4];
    for (int phase = 0; phase < SCALE; ++phase) {
        const double position = (phase + 0.5) / SCALE - 0.5;
        double weights[4];
        cubic_weights(position - std::floor(position), weights);
        for (int k = 0; k < 4; ++k) taps[phase][k] = static_cast<float>(weights[k]);
    }
    const int cell = residual ? to.width / residual->width : 1;
    const size_t line = static_cast<size_t>(from.width + 4) * 4;
    float* scratch = machine.workspace.per_thread(SCRATCH, machine.pool.threads(), line);
    machine.pool.run(to.height, [&](int y, int thread) {
        float* row = scratch + line * thread;  // one line of `from`, with two more pixels on each side
        const int phase_y = y % SCALE, top = y / SCALE - (phase_y < 2 ? 2 : 1);
        for (int x = -2; x < from.width + 2; ++x) {
            Vec4 sum{};
            for (int k = 0; k < 4; ++k)
                sum += taps[phase_y][k] * load4(from.at(std::clamp(top + k, 0, from.height - 1), std::clamp(x, 0, from.width - 1)));
            store4(row + static_cast<size_t>(x + 2) * 4, sum);
        }
        for (int x = 0; x < to.width; ++x) {
            const int phase = x % SCALE, left = x / SCALE - (phase < 2 ? 2 : 1);
            Vec4 sum{};
            for (int k = 0; k < 4; ++k) sum += taps[phase][k] * load4(row + static_cast<size_t>(left + k + 2) * 4);
            if (residual) sum += load4(residual->at(y / cell, x / cell) + ((y % cell) * cell + x % cell) * 4);
            store4(to.at(y, x), sum);
        }
    });
}

// Position of a pixel of a grid `factor` times finer: lower neighbour, upper neighbour and the share of the upper.
struct Between {
    int low, high;
    float share;

    Between(int position, int factor, int size) {
        const float at = std::max(0.0f, (position + 0.5f) / factor - 0.5f);
        low = static_cast<int>(at);
        high = std::min(low + 1, size - 1);
        share = at - low;
    }
};

inline Vec4 bilinear(const Tensor& from, const Between& y, const Between& x) {
    const Vec4 top = (1 - x.share) * load4(from.at(y.low, x.low)) + x.share * load4(from.at(y.low, x.high));
    const Vec4 bottom = (1 - x.share) * load4(from.at(y.high, x.low)) + x.share * load4(from.at(y.high, x.high));
    return (1 - y.share) * top + y.share * bottom;
}

// Classical flow 0->1 and 1->0 and its acceleration, which may be null (planar: x then y, each height x width), turned into
// flow t->0 and t->1, 4 floats a pixel.
inline void flow_from_time(Machine& machine, const float* const* prior, float t, const Tensor& to) {
    const float *forward = prior[0], *backward = prior[1], *acceleration = prior[2];
    const size_t plane = static_cast<size_t>(to.height) * to.width;
    machine.pool.run(to.height, [&](int y, int) {
        const size_t first = static_cast<size_t>(y) * to.width;
        for (size_t p = first; p < first + to.width; ++p)
            for (int axis = 0; axis < 2; ++axis) {
                const float f = forward[p + axis * plane], b = backward[p + axis * plane];
                const float bend = acceleration ? t * (1 - t) / 2 * acceleration[p + axis * plane] : 0;
                to.data[4 * p + axis] = -(1 - t) * t * f + t * t * b + bend;
                to.data[4 * p + 2 + axis] = (1 - t) * (1 - t) * f - t * (1 - t) * b + bend;
            }
    });
}

// What a frame counts less in the blend mask's logit where flow leads out of it, by a pixel or more.
constexpr float OUTSIDE = 6;

// How far outside of a line of `size` pixels a place is, at most 1.
inline float beyond(float place, int size) { return std::min(1.0f, std::max({0.0f, -place, place - (size - 1)})); }

// First flow state: `prior` (4 floats a pixel, on the low-resolution grid) or zero, and the logit of the blend mask, with
// `edges` in favour of the frame that a place is in.
inline void start_flow(Machine& machine, const FlowState& flow, const Tensor* prior, float logit, bool edges) {
    const int finer = flow.finer, cell = finer == 2 ? 8 : CHANNEL_STEP;
    const int height = finer * flow.data.height, width = finer * flow.data.width;
    machine.pool.run(flow.data.height, [&](int y, int) {
        for (int x = 0; x < flow.data.width; ++x)
            for (int sub = 0; sub < finer * finer; ++sub) {
                float* to = flow.data.at(y, x) + sub * cell;
                std::memset(to, 0, cell * sizeof(float));
                if (prior && finer == 1) store4(to, load4(prior->at(y, x)));
                if (prior && finer == 2) {
                    const Between v(2 * y + sub / 2, SCALE, prior->height), u(2 * x + sub % 2, SCALE, prior->width);
                    store4(to, static_cast<float>(SCALE) * bilinear(*prior, v, u));
                }
                to[4] = logit;
                if (prior && edges) {
                    const float at_y = finer * y + sub / finer, at_x = finer * x + sub % finer;
                    float outside[2];
                    for (int k = 0; k < 2; ++k)
                        outside[k] = std::max(beyond(at_x + to[2 * k], width), beyond(at_y + to[2 * k + 1], height));
                    to[4] += OUTSIDE * (outside[1] - outside[0]);
                }
            }
    });
}

// Numbers in [0, 1] to whole ones from 0 to `white`, rounded to even as PyTorch does. Steps are in elements.
template <typename Whole>
void store_whole(Machine& machine, const float* from, int height, int width, int64_t from_line, Whole* to,
                 int64_t to_line, int64_t to_pixel) {
    const float white = static_cast<float>(std::numeric_limits<Whole>::max());
    machine.pool.run(height, [&](int y, int) {
        const float* in = from + y * from_line;
        Whole* out = to + y * to_line;
        if (to_pixel == 3) {
            for (int k = 0; k < 3 * width; ++k) out[k] = static_cast<Whole>(static_cast<int>(std::nearbyint(white * in[k])));
        } else {
            for (int x = 0; x < width; ++x)
                for (int c = 0; c < 3; ++c)
                    out[x * to_pixel + c] = static_cast<Whole>(static_cast<int>(std::nearbyint(white * in[3 * x + c])));
        }
    });
}

// What a synthesis hands back; any pointer but `image` may be null.
struct Result {
    float* image;  // 4h, 4w, 3
    float* fused;  // 4h, 4w, 3
    float* flow;   // 4, Hs, Ws
    float* mask;   // Hs, Ws
};

// Flow and mask (after the sigmoid) as the state's own grid has them, eight floats a pixel, from the state.
inline Tensor unpack_flow(Machine& machine, const FlowState& flow, const Result& result) {
    const int finer = flow.finer, cell = finer == 2 ? 8 : CHANNEL_STEP;
    const Tensor full = machine.workspace.tensor(SUMS, flow.data.height * finer, flow.data.width * finer, 8);
    const size_t plane = static_cast<size_t>(full.height) * full.width;
    machine.pool.run(full.height, [&](int y, int) {
        for (int x = 0; x < full.width; ++x) {
            const float* from = flow.data.at(y / finer, x / finer) + ((y % finer) * finer + x % finer) * cell;
            const float mask = 1.0f / (1.0f + std::exp(-from[4]));
            float* to = full.at(y, x);
            store4(to, load4(from));
            to[4] = mask;
            const size_t at = static_cast<size_t>(y) * full.width + x;
            for (int k = 0; result.flow && k < 4; ++k) result.flow[k * plane + at] = from[k];
            if (result.mask) result.mask[at] = mask;
        }
    });
    return full;
}

inline Vec4 sample(const Tensor& picture, float x, float y) {
    const Corners at(picture, x, y);
    return at.weight[0] * load4(at.pixel[0]) + at.weight[1] * load4(at.pixel[1]) + at.weight[2] * load4(at.pixel[2]) +
           at.weight[3] * load4(at.pixel[3]);
}

// The same with the bicubic kernel, `operations.warp_bicubic`.
inline Vec4 sample_bicubic(const Tensor& picture, float x, float y) {
    const int last_x = picture.width - 1, last_y = picture.height - 1;
    x = clamp_position(x, static_cast<float>(last_x));
    y = clamp_position(y, static_cast<float>(last_y));
    const int left = static_cast<int>(x), top = static_cast<int>(y);
    float wx[4], wy[4];
    cubic_weights(x - left, wx);
    cubic_weights(y - top, wy);
    Vec4 sum{};
    if (left >= 1 && top >= 1 && left + 2 <= last_x && top + 2 <= last_y) {
        // Down first, all four columns at once.
        const float* from = picture.at(top - 1, left - 1);
        const size_t line = static_cast<size_t>(picture.width) * 4;
        Vec4 columns[4]{};
        for (int k = 0; k < 4; ++k, from += line)
            for (int j = 0; j < 4; ++j) columns[j] += wy[k] * load4(from + 4 * j);
        return wx[0] * columns[0] + wx[1] * columns[1] + (wx[2] * columns[2] + wx[3] * columns[3]);
    }
    for (int k = 0; k < 4; ++k)
        for (int j = 0; j < 4; ++j)
            sum += wy[k] * wx[j] * load4(picture.at(std::clamp(top + k - 1, 0, last_y), std::clamp(left + j - 1, 0, last_x)));
    return sum;
}

inline void store_rgb(float* to, Vec4 value) {
    to[0] = value[0];
    to[1] = value[1];
    to[2] = value[2];
}

// One line of a flow state (see `unpack_flow`) for a line of a grid `factor` times finer: 8 floats for each pixel of
// the state, and one more pixel on either side.
inline void interpolate_line(const Tensor& flow, int y, int factor, float* line) {
    const Between v(y, factor, flow.height);
    for (int x = -1; x <= flow.width; ++x, line += 8) {
        const int inside = std::clamp(x, 0, flow.width - 1);
        const float *top = flow.at(v.low, inside), *bottom = flow.at(v.high, inside);
        store4(line, (1 - v.share) * load4(top) + v.share * load4(bottom));
        line[4] = (1 - v.share) * top[4] + v.share * bottom[4];
    }
}

// Into [0, 1].
inline Vec4 clamped(Vec4 value) {
    const Vec4 zero{}, one = zero + 1.0f;
    value = value > zero ? value : zero;
    return value < one ? value : one;
}

// A line of pixels of three floats, from left to right: a pixel's fourth float is overwritten by the next one's first.
inline void store_next(float* to, Vec4 value, bool last) {
    if (last) {
        store_rgb(to, value);
    } else {
        store4(to, value);
    }
}

// A picture as a result: three floats a pixel, clamped.
inline void copy_picture(Machine& machine, const Tensor& picture, float* image) {
    machine.pool.run(picture.height, [&](int y, int) {
        float* out = image + static_cast<size_t>(y) * picture.width * 3;
        for (int x = 0; x < picture.width; ++x, out += 3)
            store_next(out, clamped(load4(picture.at(y, x))), x + 1 == picture.width);
    });
}

// Blend of the two warped pictures plus the decoder's residual (in cells, four floats a pixel), clamped to [0, 1];
// `fetch` is one of the two ways to sample a picture.
template <Vec4 (*fetch)(const Tensor&, float, float)>
inline void compose(Machine& machine, const Tensor& flow, const Tensor* picture0, const Tensor* picture1,
                    const Tensor* residual, int height, int width, const Result& result) {
    const int factor = width / flow.width, cell = residual ? width / residual->width : 1;
    const size_t length = static_cast<size_t>(flow.width + 2) * 8;
    float* scratch = machine.workspace.per_thread(SCRATCH, machine.pool.threads(), length);
    machine.pool.run(height, [&](int y, int thread) {
        float* line = scratch + length * thread;
        if (picture0) interpolate_line(flow, y, factor, line);
        float* out = result.image + static_cast<size_t>(y) * width * 3;
        for (int x = 0; x < width; ++x, out += 3) {
            Vec4 value{};
            if (picture0) {
                const int phase = x % factor, low = x / factor + (2 * phase + 1 < factor ? 0 : 1);
                const float at = (phase + 0.5f) / factor + (2 * phase + 1 < factor ? 0.5f : -0.5f);
                const float* near = line + static_cast<size_t>(low) * 8;
                const Vec4 step = static_cast<float>(factor) * ((1 - at) * load4(near) + at * load4(near + 8));
                const float share = (1 - at) * near[4] + at * near[12];
                value = share * fetch(*picture0, x + step[0], y + step[1]) +
                        (1 - share) * fetch(*picture1, x + step[2], y + step[3]);
                if (result.fused) store_rgb(result.fused + (static_cast<size_t>(y) * width + x) * 3, value);
            }
            if (residual) value += load4(residual->at(y / cell, x / cell) + ((y % cell) * cell + x % cell) * 4);
            store_next(out, clamped(value), x + 1 == width);
        }
    });
}

}  // namespace safa
