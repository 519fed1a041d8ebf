// The inner product at the heart of every convolution: MR rows (tiles or pixels) times NV vectors of output channels.
//
// Weights are packed per panel of up to NV vectors as [k][NV * LANES] words, so that they stream through the first cache.
#pragma once

#include <vector>

#include "arithmetic.h"

namespace safa {

// Widest panel and rows per call for each width: accumulators, a row of weights and a broadcast must fit the registers.
constexpr int MAX_PANEL = REGISTERS == 32 ? 3 : 2;
constexpr int panel_rows(int vectors) {
    return REGISTERS == 32 ? (vectors == 3 ? 8 : 12) : (vectors == 2 ? 6 : 8);
}

// Output vectors split into panels as even as possible.
inline std::vector<int> panel_widths(int channels) {
    const int vectors = channels / LANES, count = (vectors + MAX_PANEL - 1) / MAX_PANEL;
    std::vector<int> widths(count);
    for (int panel = 0; panel < count; ++panel) {
        widths[panel] = vectors * (panel + 1) / count - vectors * panel / count;
    }
    return widths;
}

// What a kernel multiplies. Row m of step s starts at steps[s] + offset + m * row; `depth` words in all, `step_depth`
// in each step but the last. Results go to out + n * out_vector + m * out_row.
struct Product {
    const float* const* steps;
    int step_depth;
    int depth;
    ptrdiff_t offset;
    ptrdiff_t row;
    const float* weights;
    float* out;
    ptrdiff_t out_vector;
    ptrdiff_t out_row;
    bool accumulate;
};

// ROW: a row stride known when compiling (0: p.row), which saves all address arithmetic.
template <typename Numbers, int MR, int NV, int ROW>
inline void multiply(const Product& p) {
    const ptrdiff_t row = ROW ? ROW : p.row;
    Vec sum[MR][NV];
    if (p.accumulate) {
        for (int m = 0; m < MR; ++m)
            for (int n = 0; n < NV; ++n) sum[m][n] = load(p.out + n * p.out_vector + m * p.out_row);
    } else {
        for (int m = 0; m < MR; ++m)
            for (int n = 0; n < NV; ++n) sum[m][n] = Vec{};
    }
    const float* weights = p.weights;
    for (int done = 0, step = 0; done < p.depth; done += p.step_depth, ++step) {
        const float* a = p.steps[step] + p.offset;
        const int depth = p.depth - done < p.step_depth ? p.depth - done : p.step_depth;
        for (int k = 0; k < depth; ++k) {
            decltype(Numbers::load_words(weights)) w[NV];
#pragma GCC unroll 8
            for (int n = 0; n < NV; ++n) w[n] = Numbers::load_words(weights + n * LANES);
#pragma GCC unroll 16
            for (int m = 0; m < MR; ++m) {
                const auto x = Numbers::splat_word(a + m * row + k);
#pragma GCC unroll 8
                for (int n = 0; n < NV; ++n) sum[m][n] = Numbers::add_products(sum[m][n], x, w[n]);
            }
            weights += NV * LANES;
        }
    }
    for (int m = 0; m < MR; ++m)
        for (int n = 0; n < NV; ++n) store(p.out + n * p.out_vector + m * p.out_row, sum[m][n]);
}

// All `rows` rows of one panel, the last of them by a kernel of just as many.
template <typename Numbers, int NV, int ROW, int MR = panel_rows(NV)>
void multiply_rows(Product& p, int rows) {
    for (; rows >= MR; rows -= MR) {
        multiply<Numbers, MR, NV, ROW>(p);
        p.offset += MR * (ROW ? ROW : p.row);
        p.out += MR * p.out_row;
    }
    if constexpr (MR > 1) {
        if (rows) multiply_rows<Numbers, NV, ROW, MR - 1>(p, rows);
    }
}

template <typename Numbers, int ROW>
void multiply_panel(Product p, int vectors, int rows) {
    if (vectors == 1) multiply_rows<Numbers, 1, ROW>(p, rows);
    if (vectors == 2) multiply_rows<Numbers, 2, ROW>(p, rows);
    if constexpr (MAX_PANEL > 2) {
        if (vectors == 3) multiply_rows<Numbers, 3, ROW>(p, rows);
    }
}

}  // namespace safa
