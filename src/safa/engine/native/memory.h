// Memory that is allocated once and kept: aligned buffers and the workspace of a context.
#pragma once

#include <map>
#include <new>
#include <utility>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "vector.h"

namespace safa {

// Grows, never shrinks; new memory is zero.
class Buffer {
   public:
    Buffer() = default;
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    Buffer(Buffer&& other) noexcept : data_(other.data_), size_(other.size_), alignment_(other.alignment_) {
        other.data_ = nullptr;
        other.size_ = 0;
    }
    ~Buffer() { release(); }

    float* reserve(size_t floats) {
        if (floats > size_ || !data_) {
            release();
            // Transforms write to dozens of pages in turn: large pages keep them in the processor's page table cache.
            const size_t page = floats * sizeof(float) >= LARGE_PAGE / 2 ? LARGE_PAGE : 64;
            const size_t bytes = (floats * sizeof(float) + page - 1) / page * page;
            data_ = static_cast<float*>(::operator new(bytes ? bytes : page, std::align_val_t(page)));
            alignment_ = page;
#if defined(MADV_HUGEPAGE)
            if (page == LARGE_PAGE) madvise(data_, bytes, MADV_HUGEPAGE);
#endif
            std::memset(data_, 0, bytes);
            size_ = floats;
        }
        return data_;
    }
    float* data() const { return data_; }
    size_t size() const { return size_; }

   private:
    void release() {
        if (data_) ::operator delete(data_, std::align_val_t(alignment_));
        data_ = nullptr;
        size_ = 0;
    }

    static constexpr size_t LARGE_PAGE = 2 << 20;
    float* data_ = nullptr;
    size_t size_ = 0;
    size_t alignment_ = 0;
};

// A view of an activation: height x width x channels, channels a multiple of CHANNEL_STEP unless said otherwise.
struct Tensor {
    float* data = nullptr;
    int height = 0;
    int width = 0;
    int channels = 0;

    float* at(int y, int x) const { return data + (static_cast<size_t>(y) * width + x) * channels; }
    size_t size() const { return static_cast<size_t>(height) * width * channels; }
};

// Named scratch tensors plus scratch per thread. After the first frame of a size nothing is allocated any more.
class Workspace {
   public:
    Tensor tensor(int slot, int height, int width, int channels) {
        Tensor view{nullptr, height, width, channels};
        view.data = shared_[slot].reserve(view.size());
        return view;
    }
    // Sized for all threads before the work is handed out; `stride` floats each.
    float* per_thread(int slot, int threads, size_t stride) { return shared_[slot].reserve(stride * threads); }
    size_t bytes() const {
        size_t total = 0;
        for (const auto& entry : shared_) total += entry.second.size() * sizeof(float);
        return total;
    }
    void release() { shared_.clear(); }

   private:
    std::map<int, Buffer> shared_;
};

}  // namespace safa
