// One run of a stack: from X, lengths and states to Y and the last states.
#pragma once
#include <atomic>
#include <cstdint>

#include "stack.h"

namespace rnn {

struct Call {
  int time_steps;
  int batch_size;
  const float* x;
  const int32_t* lengths;    // or null
  const float* initial_h;    // or null
  const float* initial_c;    // or null
  float* y;                  // or null
  float* last_h;             // or null
  float* last_c;             // or null
};

// Calls function(data, i) for each i below `count`, on as many threads as there are; returns when all have returned.
struct ParallelFor {
  void (*start)(const void* pool, void (*function)(void* data, size_t i), size_t count, void* data);
  const void* pool;
};

// Scratch memory that one run leaves to the next; runs at the same time have one each.
class ScratchCache {
 public:
  ScratchCache() = default;
  ~ScratchCache();
  ScratchCache(const ScratchCache&) = delete;
  ScratchCache& operator=(const ScratchCache&) = delete;

  struct Scratch {
    Memory memory;
    size_t bytes = 0;
  };
  Scratch* take(size_t bytes);
  void give_back(Scratch* scratch);

 private:
  std::atomic<Scratch*> idle_{nullptr};
};

void run(const Stack& stack, const Call& call, ScratchCache& cache, const ParallelFor& parallel_for);

}  // namespace rnn
