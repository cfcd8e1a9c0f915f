// Memory that begins on a cache line, and on huge pages where it is large and the system gives them.
#pragma once
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace rnn {

constexpr size_t kCacheLine = 64;

inline size_t round_up(size_t value, size_t multiple) { return (value + multiple - 1) / multiple * multiple; }

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};

using Memory = std::unique_ptr<unsigned char, Free>;

inline Memory allocate(size_t bytes) {
  constexpr size_t huge_page = size_t(2) << 20;
  const bool huge = bytes >= huge_page / 4;
  const size_t alignment = huge ? huge_page : kCacheLine;
  const size_t size = round_up(bytes ? bytes : 1, alignment);
  Memory memory(static_cast<unsigned char*>(std::aligned_alloc(alignment, size)));
  if (!memory) throw std::bad_alloc();
#ifdef __linux__
  if (huge) madvise(memory.get(), size, MADV_HUGEPAGE);  // 1.3 times as fast to read; without it nothing is wrong
#endif
  return memory;
}

// Gives out one piece of memory part by part, each on a cache line; without memory it only counts.
struct Arena {
  unsigned char* begin;
  size_t used = 0;

  template <typename T>
  T* take(size_t count) {
    T* const place = begin ? reinterpret_cast<T*>(begin + used) : nullptr;
    used += round_up(count * sizeof(T), kCacheLine);
    return place;
  }
};

}  // namespace rnn
