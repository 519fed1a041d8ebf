// A small pool of threads: OpenMP is not everywhere, and a second OpenMP runtime beside PyTorch's keeps spinning.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#if !defined(_WIN32)
#include <unistd.h>
#endif

// GCC's noinline alone leaves it free to make copies for constant arguments.
#if defined(__clang__)
#define SAFA_ONE_COPY __attribute__((noinline))
#else
#define SAFA_ONE_COPY __attribute__((noipa))
#endif

namespace safa {

// Tells a process from one that was forked from it.
inline long process_number() {
#if defined(_WIN32)
    return 0;  // Windows does not fork
#else
    return getpid();
#endif
}

class Pool {
   public:
    explicit Pool(int threads) { resize(threads); }
    ~Pool() { stop(); }
    Pool(const Pool&) = delete;
    Pool& operator=(const Pool&) = delete;

    int threads() const { return crew_ == nullptr ? 1 : static_cast<int>(crew_->workers.size()) + 1; }

    // As many threads as the system allows, at most `threads`.
    void resize(int threads) {
        if (threads < 1) threads = 1;
        if (threads == this->threads() && (crew_ == nullptr || crew_->is_here())) return;
        stop();
        if (threads == 1) return;
        crew_ = new Crew;
        try {
            crew_->workers.reserve(threads - 1);
            for (int thread = 1; thread < threads; ++thread) {
                crew_->workers.emplace_back([crew = crew_, thread] { crew->work(thread); });
            }
        } catch (const std::system_error&) {  // no more threads: those that are here will do
            if (crew_->workers.empty()) stop();
        } catch (...) {
            stop();
            throw;
        }
    }

    // Calls job(index, thread) for every index in [0, count); returns when all are done. `job` must not throw.
    template <typename Job>
    void run(int count, const Job& job) {
        if (count <= 1 || crew_ == nullptr || !crew_->is_here()) {
            for (int index = 0; index < count; ++index) call<Job>(&job, index, 0);
            return;
        }
        Crew& crew = *crew_;
        {
            std::lock_guard<std::mutex> lock(crew.mutex);
            crew.call = call<Job>;
            crew.job = &job;
            crew.count = count;
            crew.next.store(0);
            crew.busy.store(static_cast<int>(crew.workers.size()));
            crew.generation.fetch_add(1);
        }
        crew.wake.notify_all();
        crew.drain(0);
        for (int spin = 0; crew.busy.load() != 0; ++spin) pause(spin);
    }

   private:
    // One compiled copy for every way of calling: in two the compiler may fuse multiplications and additions differently,
    // and results would depend on the number of threads.
    template <typename Job>
    SAFA_ONE_COPY static void call(const void* opaque, int index, int thread) {
        (*static_cast<const Job*>(opaque))(index, thread);
    }

    static void pause(int spin) {
        if (spin > 200) {
            std::this_thread::yield();
        } else {
#if defined(__x86_64__)
            __builtin_ia32_pause();
#endif
        }
    }

    // The threads and all that they share. A forked child has a copy in which they do not exist, though the mutex may
    // be locked by one and the condition waited for by all: to destroy that copy could take for ever.
    struct Crew {
        bool is_here() const { return owner == process_number(); }

        void drain(int thread) {
            for (int index = next.fetch_add(1); index < count; index = next.fetch_add(1)) call(job, index, thread);
        }

        void work(int thread) {
            for (unsigned seen = 0;;) {
                // Layers follow each other within microseconds: look for a moment before sleeping.
                for (int spin = 0; spin < 2000 && generation.load() == seen; ++spin) pause(spin);
                if (generation.load() == seen) {
                    std::unique_lock<std::mutex> lock(mutex);
                    wake.wait(lock, [&] { return generation.load() != seen; });
                } else {
                    std::lock_guard<std::mutex> lock(mutex);  // the job is written under this lock
                }
                seen = generation.load();
                if (stopping) return;
                drain(thread);
                busy.fetch_sub(1);
            }
        }

        std::vector<std::thread> workers;
        std::mutex mutex;
        std::condition_variable wake;
        std::atomic<unsigned> generation{0};
        std::atomic<int> next{0};
        std::atomic<int> busy{0};
        std::atomic<bool> stopping{false};
        void (*call)(const void*, int, int) = nullptr;
        const void* job = nullptr;
        int count = 0;
        long owner = process_number();
    };

    void stop() {
        Crew* crew = crew_;
        crew_ = nullptr;
        if (crew == nullptr || !crew->is_here()) return;  // a parent's is left as it is
        {
            std::lock_guard<std::mutex> lock(crew->mutex);
            crew->stopping = true;
            crew->generation.fetch_add(1);
        }
        crew->wake.notify_all();
        for (auto& worker : crew->workers) worker.join();
        delete crew;
    }

    Crew* crew_ = nullptr;
};

}  // namespace safa
