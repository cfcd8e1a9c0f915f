// Threads that go through phases of work together. A phase is cut into chunks, and begins when all chunks of the one before
// are done. A thread takes its own chunk first, so that it reads the same weights at each step, then what nobody has
// taken. Only a thread that runs holds a chunk, so it does no harm where one thread plays several parts one after another.
#pragma once
#include <atomic>
#include <cstdint>
#include <new>

#ifdef __linux__
#include <sched.h>
#endif

#include "memory.h"

namespace rnn {

class Crew {
 public:
  static constexpr int kMostChunks = 128;

  void start(int members, int chunks) {
    members_ = members;
    chunks_ = chunks;
    done_.store(0, std::memory_order_relaxed);
    for (int chunk = 0; chunk < chunks; ++chunk) slots_[chunk].phase.store(0, std::memory_order_relaxed);
    left_.store(0, std::memory_order_relaxed);
    arrived_.store(0, std::memory_order_release);
  }

  int chunks() const { return chunks_; }
  int members() const { return members_; }

  // What came before `start` is seen by all who arrive, and what they did by who sees that all have left: the order of
  // memory does not rest on that of the pool.
  int arrive() { return arrived_.fetch_add(1, std::memory_order_acq_rel); }
  void leave() { left_.fetch_add(1, std::memory_order_acq_rel); }
  bool all_left() const { return left_.load(std::memory_order_acquire) == members_; }

  template <typename Work>
  void phase(int64_t phase, int member, Work work) {
    if (done_.load(std::memory_order_acquire) >= (phase + 1) * chunks_) return;
    wait(phase * chunks_);
    const int first = int(int64_t(member) * chunks_ / members_);
    for (int i = 0; i < chunks_; ++i) {
      const int chunk = first + i < chunks_ ? first + i : first + i - chunks_;
      int64_t expected = phase;
      std::atomic<int64_t>& next = slots_[chunk].phase;
      if (next.load(std::memory_order_relaxed) != phase) continue;
      if (!next.compare_exchange_strong(expected, phase + 1, std::memory_order_relaxed)) continue;
      work(chunk);
      done_.fetch_add(1, std::memory_order_acq_rel);
    }
  }

 private:
  void wait(int64_t count) const {
    for (int spins = 0; done_.load(std::memory_order_acquire) < count; ++spins) {
      if (spins < 2000) {
#ifdef RNNEXPORT_X86
        __builtin_ia32_pause();
#endif
      } else {
#ifdef __linux__
        sched_yield();  // the thread that holds the chunk may wait for this core
#endif
      }
    }
  }

  struct alignas(kCacheLine) Slot {
    std::atomic<int64_t> phase{0};
  };

  alignas(kCacheLine) std::atomic<int64_t> done_{0};
  alignas(kCacheLine) std::atomic<int> arrived_{0};
  std::atomic<int> left_{0};
  int members_ = 1;
  int chunks_ = 1;
  Slot slots_[kMostChunks];
};

}  // namespace rnn
