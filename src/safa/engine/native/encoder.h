// Feature extraction (`network/features.py`): stem, ResNet stages with batch normalisation folded in, fused levels.
#pragma once

#include "layers.h"
#include "settings.h"

namespace safa {

// RGB (four floats a pixel) through the checkpoint's own 1x1 normalisation; three channels, nothing padded. As a source
// it keeps the stem's zero padding after the normalisation, where the network has it.
class Normalized final : public Source {
   public:
    Normalized(const Tensor& picture, const float* weight, const float* bias)
        : Source(picture.height, picture.width, 3), picture_(picture), weight_(weight), bias_(bias) {}
    void row(int y, int x0, int x1, float* out, ptrdiff_t stride) const override {
        for (int x = x0; x < x1; ++x, out += stride) {
            const float* p = picture_.at(y, x);
            for (int c = 0; c < 3; ++c)
                out[c] = weight_[3 * c] * p[0] + weight_[3 * c + 1] * p[1] + weight_[3 * c + 2] * p[2] + bias_[c];
        }
    }

   private:
    const Tensor picture_;
    const float* weight_;
    const float* bias_;
};

// ResNet's basic block (two 3x3) or bottleneck block (1x1, 3x3, 1x1), the last of them with shortcut and ReLU.
class StageBlock {
   public:
    StageBlock(const Parameters& all, const std::string& name, int in, int out, int stride, bool bottleneck) {
        if (bottleneck) {
            const int inner = out / 4;
            add(all, name, 1, inner, in, 1, 1);
            add(all, name, 2, inner, inner, 3, stride);
            add(all, name, 3, out, inner, 1, 1);
        } else {
            add(all, name, 1, out, in, 3, stride);
            add(all, name, 2, out, out, 3, 1);
        }
        if (stride != 1 || in != out)
            shortcut_ = std::make_unique<Convolution>(
                read_normalized(all, name + ".shortcut.0", name + ".shortcut.1", out, in, 1, false),
                std::vector<ChannelMap>{channel_map(in)}, channel_map(out), stride);
    }

    // `side` and `middle` belong to this call only; the result is `out`, which must not be `x`.
    void run(Machine& machine, const Tensor& x, const Tensor& out, int slot) const {
        const Tensor* residual = &x;
        if (shortcut_) {
            shortcut_->run(machine, x, {out});
            residual = &out;
        }
        Tensor current = x;
        for (size_t k = 0; k + 1 < convolutions_.size(); ++k) {
            const bool strided = k + 2 == convolutions_.size();
            const Tensor next = machine.workspace.tensor(slot + 4 * static_cast<int>(k), strided ? out.height : x.height,
                                                         strided ? out.width : x.width, padded(widths_[k]));
            convolutions_[k].run(machine, current, {next});
            current = next;
        }
        convolutions_.back().run(machine, current, {out, residual->data});
    }

   private:
    void add(const Parameters& all, const std::string& name, int index, int out, int in, int size, int stride) {
        const std::string number = std::to_string(index);
        convolutions_.emplace_back(read_normalized(all, name + ".conv" + number, name + ".norm" + number, out, in, size, true),
                                   std::vector<ChannelMap>{channel_map(in)}, channel_map(out), stride);
        widths_.push_back(out);
    }

    std::vector<Convolution> convolutions_;
    std::vector<int> widths_;
    std::unique_ptr<Convolution> shortcut_;
};

class Encoder {
   public:
    Encoder(const Parameters& all, const Settings& settings) : stride_(settings.paper_grid ? 2 : 1) {
        const std::string name = "extractor.";
        const float* weight = all.get(name + "normalize.weight", 9);
        const float* bias = all.get(name + "normalize.bias", 3);
        std::copy(weight, weight + 9, normalize_weight_);
        std::copy(bias, bias + 3, normalize_bias_);
        const int stem = settings.stem_channels, channels = settings.channels;
        stem_ = std::make_unique<Convolution>(
            read_normalized(all, name + "stem.0", name + "stem.1", stem, 3, 7, true),
            std::vector<ChannelMap>{ChannelMap{0, 1, 2}}, channel_map(stem), stride_);
        add_fuse(all, channels, stem);
        for (int stage = 0, width = stem; stage < settings.stages; ++stage) {
            const int wider = stem << stage;
            const std::string prefix = name + "stages." + std::to_string(stage);
            blocks_.emplace_back(all, prefix + ".0", width, wider, stage ? 2 : 1, settings.bottleneck != 0);
            blocks_.emplace_back(all, prefix + ".1", wider, wider, 1, settings.bottleneck != 0);
            add_fuse(all, channels, wider);
            width = wider;
        }
    }

    int stride() const { return stride_; }

    void run(Machine& machine, const Tensor& picture, const Tensor& features) const {
        Workspace& workspace = machine.workspace;
        const Normalized normalized(picture, normalize_weight_, normalize_bias_);
        const Tensor stem = workspace.tensor(LEVEL, features.height, features.width, padded(widths_[0]));
        stem_->run(machine, {&normalized}, {stem});
        Tensor current = stem;
        std::vector<Tensor> fused;
        const int stages = static_cast<int>(blocks_.size()) / 2;
        for (int stage = 0; stage < stages; ++stage) {
            const int height = features.height >> (stage + 1), width = features.width >> (stage + 1);
            const int channels = padded(widths_[stage + 1]);
            if (stage == 0) {
                const Tensor pooled = workspace.tensor(PICTURE, height, width, current.channels);
                pool(machine, current, pooled);
                current = pooled;
            }
            const Tensor middle = workspace.tensor(SUMS, height, width, channels);
            blocks_[2 * stage].run(machine, current, middle, LEVEL_MID);
            current = workspace.tensor(LEVEL + 1 + stage, height, width, channels);
            blocks_[2 * stage + 1].run(machine, middle, current, LEVEL_MID);
            fused.push_back(workspace.tensor(FUSED + stage, height, width, features.channels));
            fuse_[stage + 1].run(machine, current, {fused.back()});
        }
        add_levels(machine, fused, features);
        fuse_[0].run(machine, stem, {features, fused.empty() ? nullptr : features.data});
    }

   private:
    void add_fuse(const Parameters& all, int channels, int width) {
        fuse_.emplace_back(read_filter(all, "extractor.fuse." + std::to_string(fuse_.size()), channels, width, 1),
                           std::vector<ChannelMap>{channel_map(width)}, channel_map(channels));
        widths_.push_back(width);
    }

    // Sum of the coarse levels, enlarged bilinearly to the size of the features.
    static void add_levels(Machine& machine, const std::vector<Tensor>& levels, const Tensor& features) {
        const size_t line = static_cast<size_t>(features.width) * features.channels;
        float* scratch = machine.workspace.per_thread(SCRATCH, machine.pool.threads(), line);
        for (size_t level = 0; level < levels.size(); ++level) {
            const Resampled enlarged(levels[level], 2 << level, Sampling{});
            machine.pool.run(features.height, [&](int y, int thread) {
                float* to = features.at(y, 0);
                float* row = level ? scratch + line * thread : to;
                enlarged.row(y, 0, features.width, row, features.channels);
                for (size_t k = 0; level && k < line; k += LANES) store(to + k, load(to + k) + load(row + k));
            });
        }
    }

    // Maximum of 3x3 pixels, stride 2; everything is positive after the stem's ReLU, so padding never wins.
    static void pool(Machine& machine, const Tensor& from, const Tensor& to) {
        machine.pool.run(to.height, [&](int y, int) {
            for (int x = 0; x < to.width; ++x)
                for (int c = 0; c < to.channels; c += LANES) {
                    Vec best{};
                    for (int v = std::max(0, 2 * y - 1); v <= std::min(from.height - 1, 2 * y + 1); ++v)
                        for (int u = std::max(0, 2 * x - 1); u <= std::min(from.width - 1, 2 * x + 1); ++u) {
                            const Vec value = load(from.at(v, u) + c);
                            best = value > best ? value : best;
                        }
                    store(to.at(y, x) + c, best);
                }
        });
    }

    const int stride_;
    float normalize_weight_[9];
    float normalize_bias_[3];
    std::unique_ptr<Convolution> stem_;
    std::vector<StageBlock> blocks_;
    std::vector<Convolution> fuse_;
    std::vector<int> widths_;
};

}  // namespace safa
