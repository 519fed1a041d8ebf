// A small pool of threads: OpenMP is not everywhere, and a second OpenMP runtime beside PyTorch's keeps spinning.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include <unistd.h>

namespace safa {

class Pool {
   public:
    explicit Pool(int threads) { resize(threads); }
    ~Pool() { stop(); }
    Pool(const Pool&) = delete;
    Pool& operator=(const Pool&) = delete;

    int threads() const { return static_cast<int>(workers_.size()) + 1; }

    void resize(int threads) {
        if (threads < 1) threads = 1;
        if (threads == this->threads()) return;
        stop();
        stopping_ = false;
        owner_ = getpid();
        for (int thread = 1; thread < threads; ++thread) {
            workers_.emplace_back([this, thread, seen = generation_.load()]() mutable { work(thread, seen); });
        }
    }

    // Calls job(index, thread) for every index in [0, count); returns when all are done. `job` must not throw.
    template <typename Job>
    void run(int count, const Job& job) {
        // The threads of a parent process do not exist in a forked child: it works alone.
        if (count <= 1 || workers_.empty() || owner_ != getpid()) {
            for (int index = 0; index < count; ++index) job(index, 0);
            return;
        }
        {
            std::lock_guard<std::mutex> lock(mutex_);
            call_ = [](const void* opaque, int index, int thread) {
                (*static_cast<const Job*>(opaque))(index, thread);
            };
            job_ = &job;
            count_ = count;
            next_.store(0);
            busy_.store(static_cast<int>(workers_.size()));
            generation_.fetch_add(1);
        }
        wake_.notify_all();
        drain(0);
        for (int spin = 0; busy_.load() != 0; ++spin) pause(spin);
    }

   private:
    static void pause(int spin) {
        if (spin > 200) {
            std::this_thread::yield();
        } else {
#if defined(__x86_64__)
            __builtin_ia32_pause();
#endif
        }
    }

    void drain(int thread) {
        for (int index = next_.fetch_add(1); index < count_; index = next_.fetch_add(1)) call_(job_, index, thread);
    }

    void work(int thread, unsigned seen) {
        for (;;) {
            // Layers follow each other within microseconds: look for a moment before sleeping.
            for (int spin = 0; spin < 2000 && generation_.load() == seen; ++spin) pause(spin);
            if (generation_.load() == seen) {
                std::unique_lock<std::mutex> lock(mutex_);
                wake_.wait(lock, [&] { return generation_.load() != seen; });
            } else {
                std::lock_guard<std::mutex> lock(mutex_);  // the job is written under this lock
            }
            seen = generation_.load();
            if (stopping_) return;
            drain(thread);
            busy_.fetch_sub(1);
        }
    }

    void stop() {
        if (workers_.empty()) return;
        if (owner_ == getpid()) {
            {
                std::lock_guard<std::mutex> lock(mutex_);
                stopping_ = true;
                generation_.fetch_add(1);
            }
            wake_.notify_all();
            for (auto& worker : workers_) worker.join();
        } else {
            for (auto& worker : workers_) worker.detach();
        }
        workers_.clear();
    }

    std::vector<std::thread> workers_;
    std::mutex mutex_;
    std::condition_variable wake_;
    std::atomic<unsigned> generation_{0};
    std::atomic<int> next_{0};
    std::atomic<int> busy_{0};
    std::atomic<bool> stopping_{false};
    void (*call_)(const void*, int, int) = nullptr;
    const void* job_ = nullptr;
    int count_ = 0;
    pid_t owner_ = 0;
};

}  // namespace safa
