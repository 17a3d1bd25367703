// What loops that poll share.
#pragma once

#include <chrono>

namespace strata::fusefs {

// Between two looks while polling: a fraction of a microsecond.
inline constexpr int kPausesPerLook = 8;
// A look takes a microsecond or two; if it took this long, somebody else had the processor.
inline constexpr std::chrono::microseconds kPreempted{20};

// Tells the processor that this is a polling loop.
inline void Pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace strata::fusefs
