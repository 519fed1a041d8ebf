// Convolution of any size and stride as a matrix product over rows of the window: 7x7 stem, strided and 1x1 layers.
//
// Several sources are concatenated along channels while they are read.
#pragma once

#include "winograd.h"

namespace safa {

class Direct {
   public:
    // `in`: the network's channel of each channel that the sources bring, one after the other.
    Direct(const Filter& filter, const ChannelMap& in, const ChannelMap& out, int stride)
        : size_(filter.size),
          stride_(stride),
          in_channels_(static_cast<int>(in.size())),
          channels_(static_cast<int>(out.size())),
          panels_(panel_widths(channels_)) {
        epilogue_.build(filter, out);
        float* packed = packed_.reserve(static_cast<size_t>(size_) * size_ * in_channels_ * channels_);
        int first = 0;
        for (const int vectors : panels_) {
            for (int y = 0; y < size_; ++y)
                for (int x = 0; x < size_; ++x)
                    for (const int i : in)
                        for (int n = 0; n < vectors * LANES; ++n) {
                            const int o = out[first + n];
                            *packed++ = o < 0 || i < 0 ? 0.0f : filter.at(o, i, y, x);
                        }
            first += vectors * LANES;
        }
    }

    int channels() const { return channels_; }

    void run(Pool& pool, Workspace& workspace, int slot, const std::vector<const Source*>& sources,
             const Output& output) const {
        const int height = output.tensor.height, width = output.tensor.width;
        const int across = (width + CHUNK - 1) / CHUNK, bands = (height + BAND - 1) / BAND;
        const size_t stride = scratch_floats();
        float* scratch = workspace.per_thread(slot, pool.threads(), stride);
        pool.run(across * bands, [&](int index, int thread) {
            const int x0 = index % across * CHUNK, x1 = std::min(width, x0 + CHUNK);
            const int y0 = index / across * BAND, y1 = std::min(height, y0 + BAND);
            Lines lines(*this, sources, x0, x1, scratch + stride * thread);
            float* sums = scratch + stride * thread + lines_floats();
            for (int y = y0; y < y1; ++y) {
                multiply_line(lines.at(y), x1 - x0, sums);
                for (int x = x0; x < x1; ++x)
                    for (int c = 0; c < channels_; c += LANES) {
                        const float* sum = sums + static_cast<size_t>(x - x0) * channels_ + c;
                        const size_t at = (static_cast<size_t>(y) * width + x) * channels_ + c;
                        store(output.tensor.data + at,
                              epilogue_.apply(load(sum), c, output.residual ? output.residual + at : nullptr));
                    }
            }
        });
    }

    // For callers with their own loops (the selector): pixels at `rows` (in_channels apart) -> activated results.
    void apply(const float* pixels, int count, float* out) const {
        multiply_line(&pixels, count, out);
        for (int x = 0; x < count; ++x)
            for (int c = 0; c < channels_; c += LANES) {
                float* at = out + static_cast<size_t>(x) * channels_ + c;
                store(at, epilogue_.apply(load(at), c, nullptr));
            }
    }

    static constexpr int CHUNK = 48;  // output pixels of a line at once
    static constexpr int BAND = 8;    // lines of a task

   private:
    // Floats of the input lines of one task.
    int line_pixels() const { return CHUNK * stride_ + size_; }
    size_t line_floats() const { return round_up(line_pixels() * in_channels_, 16); }
    size_t lines_floats() const { return line_floats() * size_; }
    size_t scratch_floats() const { return lines_floats() + static_cast<size_t>(CHUNK) * channels_; }

    // The input lines under one output line; lines shared by neighbouring output lines are made once.
    class Lines {
       public:
        Lines(const Direct& layer, const std::vector<const Source*>& sources, int x0, int x1, float* memory)
            : layer_(layer), sources_(sources), memory_(memory), left_(x0 * layer.stride_ - layer.size_ / 2) {
            right_ = (x1 - 1) * layer.stride_ + layer.size_ - layer.size_ / 2;
        }

        const float* const* at(int y) {
            const int top = y * layer_.stride_ - layer_.size_ / 2;
            for (int i = 0; i < layer_.size_; ++i) {
                float* line = memory_ + layer_.line_floats() * ((top + i + layer_.size_) % layer_.size_);
                if (top + i >= filled_) {
                    int channel = 0;
                    for (const Source* source : sources_) {
                        source->padded_row(top + i, left_, right_, line + channel, layer_.in_channels_);
                        channel += source->channels;
                    }
                    filled_ = top + i + 1;
                }
                rows_[i] = line;
            }
            return rows_;
        }

       private:
        const Direct& layer_;
        const std::vector<const Source*>& sources_;
        float* memory_;
        const int left_;
        int right_;
        int filled_ = -1000;
        const float* rows_[8];
    };

    void multiply_line(const float* const* rows, int pixels, float* sums) const {
        const float* weights = packed_.data();
        const int depth = size_ * in_channels_;
        ptrdiff_t first = 0;
        for (const int vectors : panels_) {
            const Product p{rows,  depth, depth * size_,    0, static_cast<ptrdiff_t>(stride_) * in_channels_, weights,
                            sums + first, LANES, channels_, false};
            multiply_panel<Float32, 0>(p, vectors, pixels);
            weights += static_cast<size_t>(depth) * size_ * vectors * LANES;
            first += vectors * LANES;
        }
    }

    const int size_;
    const int stride_;
    const int in_channels_;
    const int channels_;
    const std::vector<int> panels_;
    Buffer packed_;
    Epilogue epilogue_;
};

}  // namespace safa
