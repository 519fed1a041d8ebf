// Random networks of random sizes through the C interface, for the sanitizers: every array of the caller is an
// allocation of exactly its size, so that a read or write outside of it is found. See sanitize.sh.

#include <cmath>
#include <cstdio>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "interface.h"

namespace {

std::mt19937 generator(1);

int pick(int low, int high) { return std::uniform_int_distribution<int>(low, high)(generator); }

std::vector<float> random_values(size_t count, float low, float high) {
    std::uniform_real_distribution<float> values(low, high);
    std::vector<float> result(count);
    for (float& value : result) value = values(generator);
    return result;
}

Settings random_settings() {
    Settings s{};
    s.paper_grid = pick(0, 1);
    s.channels = 2 * pick(4, 24);
    s.blocks = pick(1, 2);
    s.stages = pick(0, 3);
    s.bottleneck = pick(0, 3) == 0;
    s.stem_channels = 4 * pick(1, 5);
    s.image_fusion = pick(0, 3) != 0;
    s.feature_fusion = !s.image_fusion || pick(0, 3) != 0;
    s.scales = pick(1, 4);
    for (int k = 0; k < 4; ++k) s.factors[k] = 1 << k;
    s.fixed_scale = pick(0, 3) ? -1 : pick(0, s.scales - 1);
    s.shared_branches = pick(0, 1);
    s.decoder_blocks = pick(0, 1);
    s.blend_prior = pick(0, 1);
    s.flow_prior = pick(0, 1);
    s.bfloat16 = pick(0, 1);
    if (pick(0, 1)) {
        s.propagation = pick(1, 2);
        s.paper_grid = 0;
        s.image_fusion = s.feature_fusion = s.flow_prior = 1;
    }
    return s;
}

// Whatever parameter the engine asks for, random.
class RandomParameters : public safa::Parameters {
   public:
    using Parameters::Parameters;

   private:
    const float* missing(const std::string& name, int64_t size) const override {
        const bool variance = name.find("running_var") != std::string::npos;
        values_.push_back(random_values(size, variance ? 0.5f : -0.2f, variance ? 1.5f : 0.2f));
        return values_.back().data();
    }
    mutable std::vector<std::vector<float>> values_;
};

void check(int failed, const char* message) {
    if (failed) {
        std::fprintf(stderr, "failed: %s\n", message);
        std::exit(1);
    }
}

void run(const Settings& s, Context* context, int height, int width) {
    char message[512] = "";
    check(safa_set_threads(context, pick(1, 3), message, sizeof message), message);
    const int factor = s.paper_grid ? 2 : 1, state = s.paper_grid ? 4 : 1;
    const size_t grid = static_cast<size_t>(factor * height) * factor * width * ((s.channels + 15) / 16 * 16);
    const size_t low = static_cast<size_t>(height) * width, high = 16 * low;
    std::vector<float> frames[2], pictures[2], features[2], prior[3], hidden(grid);
    const int64_t steps[3] = {static_cast<int64_t>(low), width, 1};
    for (int k = 0; k < 2; ++k) {
        const std::vector<float> frame = random_values(3 * low, 0, 1);
        pictures[k].resize(4 * high);
        features[k].resize(grid);
        frames[k] = frame;
        if (s.propagation) {
            check(safa_extract(context, frame.data(), height, width, steps, features[k].data(), message, sizeof message),
                  message);
        } else {
            check(safa_encode_frame(context, frame.data(), height, width, steps, pictures[k].data(),
                                    features[k].data(), message, sizeof message), message);
        }
    }
    for (std::vector<float>& flow : prior) {
        flow = random_values(2 * low, -200, 200);
        for (const float odd : {NAN, INFINITY, -INFINITY, 3e38f}) flow[pick(0, 2 * static_cast<int>(low) - 1)] = odd;
    }
    if (s.propagation) {
        std::vector<float> backward[2], forward[2], shown(3 * high);
        for (const int k : {1, 0}) {
            backward[k].resize(grid);
            const safa::Step step{height, width, {features[k].data(), nullptr}, k ? nullptr : backward[1].data(),
                                  k ? nullptr : prior[0].data()};
            check(safa_carry(context, &step, backward[k].data(), nullptr, message, sizeof message), message);
        }
        for (const int k : {0, 1}) {
            forward[k].resize(grid);
            const safa::Step step{height, width, {features[k].data(), backward[k].data()},
                                  k ? forward[0].data() : nullptr, k ? prior[1].data() : nullptr};
            check(safa_carry(context, &step, forward[k].data(), backward[k].data(), message, sizeof message), message);
            features[k] = backward[k];
            check(safa_finish_frame(context, frames[k].data(), height, width, steps, features[k].data(),
                                    pictures[k].data(), message, sizeof message), message);
            check(safa_show(context, pictures[k].data(), height, width, shown.data(), message, sizeof message), message);
        }
    }
    check(safa_encode_pair(context, height, width, features[0].data(), features[1].data(), hidden.data(), message,
                           sizeof message), message);
    const bool given = s.flow_prior && pick(0, 1);
    std::vector<float> still[4];
    int32_t prepared[4] = {};
    for (int k = 0; k < s.scales; ++k)
        still[k].resize(grid / s.factors[k] / s.factors[k]);
    const safa::Pair pair{height, width, {pictures[0].data(), pictures[1].data()},
                          {features[0].data(), features[1].data()}, hidden.data(),
                          {given ? prior[0].data() : nullptr, given ? prior[1].data() : nullptr,
                           given && pick(0, 1) ? prior[2].data() : nullptr},
                          {still[0].data(), still[1].data(), still[2].data(), still[3].data()}, prepared,
                          {0, 0, height, width}};
    std::vector<float> image(3 * high), fused(3 * high), flow(4 * low * state * state), mask(low * state * state);
    std::vector<float> logits(s.blocks * (s.scales - 1) + 1);
    std::vector<int32_t> chosen(s.blocks), forced(s.blocks);
    for (int32_t& scale : forced) scale = pick(-1, s.scales - 1);
    const safa::Result result{image.data(), pick(0, 1) ? fused.data() : nullptr, flow.data(), mask.data()};
    for (int time = 0; time < 2; ++time)  // the second finds prepared what the first has left
        check(safa_synthesize(context, &pair, 0.25f * pick(0, 4), forced.data(), &result, chosen.data(),
                              logits.data(), message, sizeof message), message);
    const int channels = pick(3, 4), bytes = pick(1, 2), top = pick(0, 3), left = pick(0, 3);
    const int rows = 4 * height - top, columns = 4 * width - left;
    std::vector<uint8_t> picture(static_cast<size_t>(rows) * columns * channels * bytes);
    check(safa_store(context, image.data() + 3 * (top * 4 * width + left), rows, columns, 12 * width, picture.data(),
                     columns * channels, channels, bytes, message, sizeof message), message);
}

void convolve() {
    const int size = 1 + 2 * pick(0, 3), stride = pick(1, 2), in = pick(1, 96), out = pick(1, 96);
    const int height = pick(1, 70), width = pick(1, 70);
    const auto padded = [](int n) { return static_cast<size_t>((n + 15) / 16 * 16); };
    const auto x = random_values(padded(in) * height * width, -1, 1), bias = random_values(out, -1, 1);
    const auto weight = random_values(static_cast<size_t>(out) * in * size * size, -1, 1);
    std::vector<float> y(padded(out) * ((height + stride - 1) / stride) * ((width + stride - 1) / stride));
    char message[512] = "";
    check(safa_convolve(x.data(), height, width, in, weight.data(), bias.data(), pick(0, 1) ? bias.data() : nullptr, out,
                        size, stride, pick(0, 1), pick(0, 1) ? y.data() : nullptr, y.data(), pick(1, 3), message, sizeof message),
          message);
}

}  // namespace

int main(int count, char** arguments) {
    safa_best_build();  // asks the system for AMX, which a build for it needs
    const int rounds = count > 1 ? std::atoi(arguments[1]) : 20;
    for (int round = 0; round < rounds; ++round) {
        const Settings settings = random_settings();
        const std::unique_ptr<Context, void (*)(Context*)> context(
            new Context{safa::Network(settings, RandomParameters(settings.bfloat16 != 0))}, safa_destroy);
        for (int k = 0; k < 2; ++k) run(settings, context.get(), 8 * pick(1, 6), 8 * pick(1, 6));
        for (int k = 0; k < 4; ++k) convolve();
    }
    std::printf("%d networks, %d convolutions: clean\n", rounds, 4 * rounds);
    return 0;
}
