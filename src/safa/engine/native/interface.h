// The C interface of one build of the engine. Included once by each of the .cpp files beside it, which become shared libraries of their own: linked together, the linker could keep the AVX-512 copy of a template of the
// standard library for all of them.
#include <cstdio>

#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "network.h"
#include "processor.h"

namespace {

// 0: done; 1: failed, the message says why; 2: out of memory.
template <typename Body>
int guarded(char* message, int size, const Body& body) {
    try {
        body();
        return 0;
    } catch (const std::bad_alloc& error) {
        std::snprintf(message, size, "%s", error.what());
        return 2;
    } catch (const std::exception& error) {
        std::snprintf(message, size, "%s", error.what());
        return 1;
    }
}

// Whether the processor has a matrix unit for bfloat16 and the system lets this process use it, now asked for.
bool may_use_tiles() {
#if defined(__x86_64__) && defined(__linux__) && defined(SYS_arch_prctl)
    constexpr long REQUEST_PERMISSION = 0x1023, TILE_DATA = 18;  // asm/prctl.h; a system without AMX knows neither
    return safa::Processor().tiles && syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
#else
    return false;
#endif
}

}  // namespace

#if defined(_WIN32)
#define SAFA_PUBLIC extern "C" __declspec(dllexport)
#else
#define SAFA_PUBLIC extern "C" __attribute__((visibility("default")))
#endif

struct Context {
    safa::Network network;
};

// Raised with every change of this file's signatures; the Python side refuses another number.
SAFA_PUBLIC int safa_version() { return 6; }

// A digest of the sources that this was compiled from, as setup.py passes it; empty where nobody did.
#define SAFA_TEXT_OF(token) #token
#define SAFA_TEXT(macro) SAFA_TEXT_OF(macro)
#if !defined(SAFA_SOURCES)
#define SAFA_SOURCES
#endif
SAFA_PUBLIC const char* safa_sources() { return SAFA_TEXT(SAFA_SOURCES); }

SAFA_PUBLIC int safa_lanes() { return safa::LANES; }

// Best build for this processor: 0 baseline, 1 AVX2, 2 AVX-512, 3 AVX-512 with products of bfloat16, 4 those by AMX. The
// third is for AMD's: Intel's take longer for such products than for those of float32, unless they have AMX.
SAFA_PUBLIC int safa_best_build() {
    const safa::Processor processor;
    if (processor.bfloat16 && may_use_tiles()) return 4;
    return processor.bfloat16 && processor.amd ? 3 : processor.avx512 ? 2 : processor.avx2 ? 1 : 0;
}

SAFA_PUBLIC Context* safa_create(const Settings* settings, int count, const char* const* names,
                                 const float* const* data, const int64_t* sizes, int* status, char* message,
                                 int size) {
    Context* context = nullptr;
    *status = guarded(message, size, [&] {
#if defined(__AMX_BF16__)
        if (!may_use_tiles()) throw safa::Error("the system does not let it use AMX");
#endif
        safa::Parameters all(settings->bfloat16 != 0);
        for (int k = 0; k < count; ++k) all.add(names[k], data[k], sizes[k]);
        context = new Context{safa::Network(*settings, all)};
    });
    return context;
}

SAFA_PUBLIC void safa_destroy(Context* context) { delete context; }

SAFA_PUBLIC int safa_set_threads(Context* context, int threads, char* message, int size) {
    return guarded(message, size, [&] { context->network.machine().pool.resize(threads); });
}

// How many there are: fewer than asked for where the system allows no more.
SAFA_PUBLIC int safa_threads(Context* context) { return context->network.machine().pool.threads(); }

// Bytes of the workspace that calls so far have needed.
SAFA_PUBLIC int64_t safa_workspace(Context* context) {
    return static_cast<int64_t>(context->network.machine().workspace.bytes());
}

SAFA_PUBLIC void safa_release_workspace(Context* context) { context->network.machine().workspace.release(); }

SAFA_PUBLIC int safa_encode_frame(Context* context, const float* frame, int height, int width, const int64_t* steps,
                                  float* picture, float* features, char* message, int size) {
    return guarded(message, size, [&] {
        context->network.encode_frame({frame, height, width, steps[0], steps[1], steps[2]}, picture, features);
    });
}

SAFA_PUBLIC int safa_extract(Context* context, const float* frame, int height, int width, const int64_t* steps,
                             float* features, char* message, int size) {
    return guarded(message, size, [&] {
        context->network.extract({frame, height, width, steps[0], steps[1], steps[2]}, features);
    });
}

SAFA_PUBLIC int safa_carry(Context* context, const safa::Step* step, float* state, float* refined, char* message,
                           int size) {
    return guarded(message, size, [&] { context->network.carry(*step, state, refined); });
}

SAFA_PUBLIC int safa_finish_frame(Context* context, const float* frame, int height, int width, const int64_t* steps,
                                  const float* features, float* picture, char* message, int size) {
    return guarded(message, size, [&] {
        context->network.finish_frame({frame, height, width, steps[0], steps[1], steps[2]}, features, picture);
    });
}

SAFA_PUBLIC int safa_show(Context* context, const float* picture, int height, int width, float* image, char* message,
                          int size) {
    return guarded(message, size, [&] { context->network.show(picture, height, width, image); });
}

SAFA_PUBLIC int safa_encode_pair(Context* context, int height, int width, const float* features0,
                                 const float* features1, float* hidden, char* message, int size) {
    return guarded(message, size, [&] { context->network.encode_pair(height, width, features0, features1, hidden); });
}

SAFA_PUBLIC int safa_synthesize(Context* context, const safa::Pair* pair, float t, const int32_t* forced,
                                const safa::Result* result, int32_t* chosen, float* logits, char* message,
                                int size) {
    return guarded(message, size,
                   [&] { context->network.synthesize(*pair, t, forced, *result, chosen, logits); });
}

// Three floats a pixel to whole numbers of `bytes` 1 or 2; see `store_whole`.
SAFA_PUBLIC int safa_store(Context* context, const float* from, int height, int width, int64_t from_line, void* to,
                           int64_t to_line, int64_t to_pixel, int bytes, char* message, int size) {
    return guarded(message, size, [&] {
        safa::Machine& machine = context->network.machine();
        if (bytes == 1) {
            safa::store_whole(machine, from, height, width, from_line, static_cast<uint8_t*>(to), to_line, to_pixel);
        } else {
            safa::store_whole(machine, from, height, width, from_line, static_cast<uint16_t*>(to), to_line, to_pixel);
        }
    });
}

// Seconds spent in each stage since the last call of this function; `seconds` holds STAGES numbers.
SAFA_PUBLIC void safa_take_seconds(Context* context, double* seconds) {
    safa::StageSeconds& taken = context->network.machine().seconds;
    std::copy(taken.spent, taken.spent + safa::STAGES, seconds);
    taken = {};
}

// Parts on their own, for tests.

// ConvPReLU of one 3x3 (stride 1: Winograd) or other convolution: in and out are height x width x padded channels.
SAFA_PUBLIC int safa_convolve(const float* in, int height, int width, int in_channels, const float* weight,
                              const float* bias, const float* slope, int out_channels, int kernel, int stride,
                              int rounded, const float* residual, float* out, int threads, char* message, int size) {
    return guarded(message, size, [&] {
        using namespace safa;
        const int64_t count = static_cast<int64_t>(out_channels) * in_channels * kernel * kernel;
        Filter filter{out_channels, in_channels, kernel, {weight, weight + count}, {bias, bias + out_channels},
                      {},           rounded != 0};
        if (slope) filter.slope.assign(slope, slope + out_channels);
        const Convolution layer(filter, {channel_map(in_channels)}, channel_map(out_channels), stride);
        Machine machine;
        machine.pool.resize(threads);
        const Tensor from{const_cast<float*>(in), height, width, padded(in_channels)};
        layer.run(machine, from,
                  {{out, (height + stride - 1) / stride, (width + stride - 1) / stride, padded(out_channels)}, residual});
    });
}

// Backward warp: image height x width x padded channels, flow height x width x 16 of which x and y are used.
SAFA_PUBLIC int safa_warp(const float* image, int height, int width, int channels, const float* flow, float* out,
                          char* message, int size) {
    return guarded(message, size, [&] {
        using namespace safa;
        const Tensor from{const_cast<float*>(image), height, width, padded(channels)};
        const FlowState state{{const_cast<float*>(flow), height, width, CHANNEL_STEP}, 1};
        const Warped warped(from, state, 0, Sampling{});
        for (int y = 0; y < height; ++y)
            warped.row(y, 0, width, out + static_cast<size_t>(y) * width * from.channels, from.channels);
    });
}
