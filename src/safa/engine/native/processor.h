// What the processor can do and the system lets it do. Not by the compilers' own functions: Clang's do not work
// everywhere without its runtime library.
#pragma once

#if defined(__x86_64__)
#include <cpuid.h>
#include <cstring>
#endif

namespace safa {

struct Processor {
    bool avx2 = false;      // and FMA
    bool avx512 = false;    // F, VL, DQ and BW
    bool bfloat16 = false;  // AVX512-BF16
    bool tiles = false;     // AMX for bfloat16
    bool amd = false;

#if defined(__x86_64__)
    Processor() {
        const Registers vendor = ask(0), base = ask(1), more = ask(7), newer = ask(7, 1);
        constexpr unsigned FMA = 12, XGETBV = 27;                                        // of leaf 1, ecx
        constexpr unsigned AVX2 = 5, AVX512F = 16, AVX512DQ = 17, AVX512BW = 30, AVX512VL = 31;  // of leaf 7, ebx
        constexpr unsigned TILE_BFLOAT16 = 22, TILE = 24;                                // of leaf 7, edx
        constexpr unsigned AVX512_BFLOAT16 = 5;                                          // of leaf 7.1, eax
        amd = std::memcmp(&vendor.b, "Auth", 4) == 0 && std::memcmp(&vendor.d, "enti", 4) == 0 &&
              std::memcmp(&vendor.c, "cAMD", 4) == 0;
        // The registers that the system saves: without that a program loses them at any moment.
        const unsigned saved = has(base.c, XGETBV) ? saved_registers() : 0;
        constexpr unsigned YMM = 0x6, ZMM = 0xe6;
        avx2 = (saved & YMM) == YMM && has(base.c, FMA) && has(more.b, AVX2);
        avx512 = avx2 && (saved & ZMM) == ZMM && has(more.b, AVX512F) && has(more.b, AVX512DQ) &&
                 has(more.b, AVX512BW) && has(more.b, AVX512VL);
        bfloat16 = avx512 && has(newer.a, AVX512_BFLOAT16);
        tiles = has(more.d, TILE) && has(more.d, TILE_BFLOAT16);
    }

   private:
    struct Registers {
        unsigned a = 0, b = 0, c = 0, d = 0;
    };

    // Zeros where the processor does not know the question.
    static Registers ask(unsigned leaf, unsigned part = 0) {
        Registers found;
        if (!__get_cpuid_count(leaf, part, &found.a, &found.b, &found.c, &found.d)) return {};
        return found;
    }
    static bool has(unsigned word, unsigned bit) { return (word >> bit & 1u) != 0; }
    static unsigned saved_registers() {
        unsigned low = 0, high = 0;
        __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
        return low;
    }
#endif
};

}  // namespace safa
