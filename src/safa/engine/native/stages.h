// Where the time goes: seconds spent in each stage of the network since they were last asked for.
#pragma once

#include <chrono>

namespace safa {

// In the order of `library.STAGES`.
enum Stage { ENLARGING, EXTRACTOR, PROPAGATION, FIRST_HIDDEN, SELECTOR, BLOCKS, FLOW_HEAD, DECODER, IMAGE_FUSION, STAGES };

struct StageSeconds {
    double spent[STAGES] = {};
};

// Adds its lifetime to a stage. A few dozen of them live in a frame: they cost nothing that could be measured.
class StageTimer {
   public:
    StageTimer(StageSeconds& seconds, Stage stage) : to_(seconds.spent[stage]), began_(Clock::now()) {}
    ~StageTimer() { to_ += std::chrono::duration<double>(Clock::now() - began_).count(); }
    StageTimer(const StageTimer&) = delete;
    StageTimer& operator=(const StageTimer&) = delete;

   private:
    using Clock = std::chrono::steady_clock;
    double& to_;
    const Clock::time_point began_;
};

}  // namespace safa
