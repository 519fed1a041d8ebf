// Vectors of floats as GCC and Clang know them, so that SSE, AVX2, AVX-512 and NEON come from one source.
//
// Activations are NHWC with channels padded with zeros to a multiple of CHANNEL_STEP, which every vector width divides.
#pragma once

#include <cstdint>
#include <cstring>

namespace safa {

#if defined(__AVX512F__)
constexpr int LANES = 16;
#elif defined(__AVX__)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif

#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int REGISTERS = 32;
#else
constexpr int REGISTERS = 16;
#endif

constexpr int CHANNEL_STEP = 16;

typedef float Vec __attribute__((vector_size(LANES * 4)));
typedef float UnalignedVec __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef float Vec4 __attribute__((vector_size(16)));
typedef float UnalignedVec4 __attribute__((vector_size(16), aligned(4), may_alias));

inline Vec load(const float* p) { return *reinterpret_cast<const UnalignedVec*>(p); }
inline void store(float* p, Vec v) { *reinterpret_cast<UnalignedVec*>(p) = v; }
inline Vec splat(float x) { return x - Vec{}; }
inline Vec4 load4(const float* p) { return *reinterpret_cast<const UnalignedVec4*>(p); }
inline void store4(float* p, Vec4 v) { *reinterpret_cast<UnalignedVec4*>(p) = v; }

// PReLU; a slope of 0 is ReLU, of 1 the identity.
inline Vec prelu(Vec v, Vec slope) { return v > Vec{} ? v : slope * v; }

constexpr int round_up(int n, int step) { return (n + step - 1) / step * step; }
constexpr int padded(int channels) { return round_up(channels, CHANNEL_STEP); }

// Into [0, last]; a NaN becomes 0, so that no coordinate can ever leave an image.
inline float clamp_position(float x, float last) {
    x = x > 0.0f ? x : 0.0f;
    return x < last ? x : last;
}

}  // namespace safa
