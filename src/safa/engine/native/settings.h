// The part of SafaConfig that decides what is computed, as plain integers for the C interface.
#pragma once

#include <cstdint>

extern "C" {

struct Settings {
    int32_t paper_grid;
    int32_t channels;
    int32_t blocks;
    int32_t stages;  // ResNet stages after the stem
    int32_t bottleneck;
    int32_t stem_channels;
    int32_t image_fusion;
    int32_t feature_fusion;
    int32_t scales;
    int32_t factors[4];   // 1, 2, 4 or 8 for each scale
    int32_t fixed_scale;  // -1: the selector chooses, where there is one
    int32_t shared_branches;
    int32_t decoder_blocks;
    int32_t blend_prior;
    int32_t flow_prior;
    int32_t propagation;  // residual blocks of each pass along a window; 0: none
    int32_t joined_passes;
    int32_t enlarger_channels;
    int32_t bfloat16;     // whether convolutions may multiply bfloat16
};

}  // extern "C"
