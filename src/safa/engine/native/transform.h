// The one-dimensional transforms of Winograd convolution (Lavin and Gray, 2016) for a 3-tap filter.
//
// F(m): m results from m + 2 values. Products for a tile of m x m: (m + 2)^2 instead of 9 m^2. `Numbers` are what the
// products are made of.
#pragma once

#include "arithmetic.h"

namespace safa {

// F(4), points 0, 1, -1, 2, -2: 2.25 products a pixel.
struct F4 {
    using Numbers = Float32;
    static constexpr int TILE = 4;
    static constexpr int WINDOW = 6;

    static constexpr double FILTER[WINDOW][3] = {{1 / 4.0, 0, 0},
                                                 {-1 / 6.0, -1 / 6.0, -1 / 6.0},
                                                 {-1 / 6.0, 1 / 6.0, -1 / 6.0},
                                                 {1 / 24.0, 1 / 12.0, 1 / 6.0},
                                                 {1 / 24.0, -1 / 12.0, 1 / 6.0},
                                                 {0, 0, 1}};

    static void forward(const Vec* d, Vec* o) {
        const Vec a = d[4] - 4.0f * d[2], b = d[3] - 4.0f * d[1], c = d[4] - d[2], e = d[3] - d[1];
        o[0] = 4.0f * d[0] + (d[4] - 5.0f * d[2]);
        o[1] = a + b;
        o[2] = a - b;
        o[3] = c + 2.0f * e;
        o[4] = c - 2.0f * e;
        o[5] = 4.0f * d[1] + (d[5] - 5.0f * d[3]);
    }

    static void inverse(const Vec* m, Vec* o) {
        const Vec a = m[1] + m[2], b = m[1] - m[2], c = m[3] + m[4], e = m[3] - m[4];
        o[0] = m[0] + a + c;
        o[1] = b + 2.0f * e;
        o[2] = a + 4.0f * c;
        o[3] = b + 8.0f * e + m[5];
    }
};

// F(6), points 0, 1, -1, 2, -2, 1/2, -1/2: 1.78 products a pixel, twice the rounding error of F(4).
struct F6 {
    using Numbers = Float32;
    static constexpr int TILE = 6;
    static constexpr int WINDOW = 8;

    static constexpr double FILTER[WINDOW][3] = {{1, 0, 0},
                                                 {-2 / 9.0, -2 / 9.0, -2 / 9.0},
                                                 {-2 / 9.0, 2 / 9.0, -2 / 9.0},
                                                 {1 / 90.0, 1 / 45.0, 2 / 45.0},
                                                 {1 / 90.0, -1 / 45.0, 2 / 45.0},
                                                 {32 / 45.0, 16 / 45.0, 8 / 45.0},
                                                 {32 / 45.0, -16 / 45.0, 8 / 45.0},
                                                 {0, 0, 1}};

    static void forward(const Vec* d, Vec* o) {
        o[0] = d[0] - d[6] + 5.25f * (d[4] - d[2]);
        o[7] = d[7] - d[1] + 5.25f * (d[3] - d[5]);
        const Vec a = d[2] + d[6] - 4.25f * d[4], b = d[1] + d[5] - 4.25f * d[3];
        o[1] = a + b;
        o[2] = a - b;
        const Vec c = d[6] + 0.25f * d[2] - 1.25f * d[4], e = 0.5f * d[1] - 2.5f * d[3] + 2.0f * d[5];
        o[3] = c + e;
        o[4] = c - e;
        const Vec f = d[6] + 4.0f * d[2] - 5.0f * d[4], g = 2.0f * d[1] - 2.5f * d[3] + 0.5f * d[5];
        o[5] = f + g;
        o[6] = f - g;
    }

    static void inverse(const Vec* m, Vec* o) {
        const Vec a = m[1] + m[2], b = m[1] - m[2], c = m[3] + m[4], e = m[3] - m[4], f = m[5] + m[6], g = m[5] - m[6];
        o[0] = m[0] + a + c + f;
        o[1] = b + 2.0f * e + 0.5f * g;
        o[2] = a + 4.0f * c + 0.25f * f;
        o[3] = b + 8.0f * e + 0.125f * g;
        o[4] = a + 16.0f * c + 0.0625f * f;
        o[5] = m[7] + b + 32.0f * e + 0.03125f * g;
    }
};

// F(4) for bfloat16, points 0, 1, -1, 1/2, -2: slower to transform than F4, but with an eighth of its large errors
// (Barabasz et al., 2020, look for such points).
struct RoundedF4 {
    using Numbers = Bfloat16;
    static constexpr int TILE = 4;
    static constexpr int WINDOW = 6;

    static constexpr double FILTER[WINDOW][3] = {{1, 0, 0},
                                                 {1 / 3.0, 1 / 3.0, 1 / 3.0},
                                                 {-1 / 3.0, 1 / 3.0, -1 / 3.0},
                                                 {-16 / 15.0, -8 / 15.0, -4 / 15.0},
                                                 {1 / 15.0, -2 / 15.0, 4 / 15.0},
                                                 {0, 0, 1}};

    static void forward(const Vec* d, Vec* o) {
        const Vec a = d[4] - d[2], b = d[3] - d[1];
        o[0] = d[0] - d[2] + a + 1.5f * b;
        o[1] = a + b + 1.5f * (d[2] + d[3]);
        o[2] = a - b + 1.5f * (d[3] - d[2]);
        o[3] = a + 2.0f * b;
        o[4] = a - 0.5f * b;
        o[5] = d[5] - d[3] - b + 1.5f * a;
    }

    static void inverse(const Vec* m, Vec* o) {
        const Vec a = m[1] + m[2], b = m[1] - m[2];
        o[0] = m[0] + a + m[3] + m[4];
        o[1] = b + 0.5f * m[3] - 2.0f * m[4];
        o[2] = a + 0.25f * m[3] + 4.0f * m[4];
        o[3] = b + 0.125f * m[3] - 8.0f * m[4] + m[5];
    }
};

}  // namespace safa
