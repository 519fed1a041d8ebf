// What convolutions multiply: float32, or bfloat16 whose products are summed in float32.
//
// Both come as words of 32 bits. A word of bfloat16 holds two neighbouring channels, the first in its lower half, as the
// instruction VDPBF16PS wants them; without it the same numbers are multiplied as float32, which is slow and meant for
// tests and for machines that go on with a job begun on another.
#pragma once

#include "vector.h"

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

namespace safa {

struct Float32 {
    static constexpr int IN_WORD = 1;  // channels

    static Vec load_words(const float* p) { return load(p); }
    static Vec splat_word(const float* p) { return splat(*p); }
    static Vec add_products(Vec sum, Vec x, Vec w) { return sum + x * w; }
    // LANES channels to LANES / IN_WORD words.
    static void store_channels(float* to, Vec values) { store(to, values); }
    static float word(double first, double) { return static_cast<float>(first); }
};

struct Bfloat16 {
    static constexpr int IN_WORD = 2;

    typedef uint32_t Words __attribute__((vector_size(LANES * 4)));
    typedef uint32_t UnalignedWords __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
    typedef uint16_t Halves __attribute__((vector_size(LANES * 2)));
    typedef uint16_t UnalignedHalves __attribute__((vector_size(LANES * 2), aligned(2), may_alias));

    static Words load_words(const float* p) { return reinterpret_cast<const UnalignedWords&>(*p); }
    static Words splat_word(const float* p) {
        uint32_t word;
        std::memcpy(&word, p, 4);
        return word - Words{};
    }
    static Vec add_products(Vec sum, Words x, Words w) {
#if defined(__AVX512BF16__)
        return reinterpret_cast<Vec>(
            _mm512_dpbf16_ps(reinterpret_cast<__m512>(sum), reinterpret_cast<__m512bh>(x), reinterpret_cast<__m512bh>(w)));
#else
        constexpr uint32_t UPPER = 0xffff0000u;
        sum += reinterpret_cast<Vec>(x << 16) * reinterpret_cast<Vec>(w << 16);
        return sum + reinterpret_cast<Vec>(x & UPPER) * reinterpret_cast<Vec>(w & UPPER);
#endif
    }
    static void store_channels(float* to, Vec values) {
#if defined(__AVX512BF16__)
        const auto halves = reinterpret_cast<Halves>(_mm512_cvtneps_pbh(reinterpret_cast<__m512>(values)));
#else
        const auto halves = __builtin_convertvector(rounded(reinterpret_cast<Words>(values)), Halves);
#endif
        reinterpret_cast<UnalignedHalves&>(*to) = halves;
    }
    static float word(double first, double second) {
        const uint32_t both = half(first) | half(second) << 16;
        float word;
        std::memcpy(&word, &both, 4);
        return word;
    }

   private:
    // To the nearest, ties to even.
    template <typename Bits>
    static Bits rounded(Bits bits) {
        return (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    }
    static uint32_t half(double value) {
        const float single = static_cast<float>(value);
        uint32_t bits;
        std::memcpy(&bits, &single, 4);
        return rounded(bits);
    }
};

}  // namespace safa
