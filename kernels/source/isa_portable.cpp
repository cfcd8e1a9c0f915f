// Plain C++, for CPUs without AVX2: GCC's vectors of four become whatever the machine has.
#include "isa.h"

namespace {

constexpr int kWidth = 4;
typedef float Floats __attribute__((vector_size(16)));
typedef int32_t Ints __attribute__((vector_size(16)));

inline Floats fma(Floats a, Floats b, Floats c) { return a * b + c; }

inline Floats widen(const int16_t* from) {
  return Floats{float(from[0]), float(from[1]), float(from[2]), float(from[3])};
}

constexpr int kPackedBytes = 2 * rnn::kGroup;

void pack(const int32_t* rounded, bool, uint8_t* to) {
  int16_t narrow[rnn::kGroup];
  for (int i = 0; i < rnn::kGroup; ++i) narrow[i] = int16_t(rounded[i]);
  __builtin_memcpy(to, narrow, sizeof narrow);
}

inline const int16_t* unpacked(const uint8_t* rounded) { return reinterpret_cast<const int16_t*>(rounded); }

constexpr int gates_at_once(int) { return 1; }

template <int rows, int>
void dot8(const uint8_t* const (&gates)[1], ptrdiff_t, int groups, const rnn::Row* row, int32_t (*sums)[rows][rnn::kUnits]) {
  for (int r = 0; r < rows; ++r) {
    const uint8_t* w = gates[0];
    const int16_t* x = unpacked(row[r].rounded);
    uint32_t sum[rnn::kUnits] = {};
    for (int four = 0; four < 4 * groups; ++four, x += 4) {
      for (int unit = 0; unit < rnn::kUnits; ++unit, w += 4) {
        sum[unit] += uint32_t(w[0] * x[0] + w[1] * x[1] + w[2] * x[2] + w[3] * x[3]);
      }
    }
    __builtin_memcpy(sums[0][r], sum, sizeof sum);
  }
}

template <int rows, int>
void dot4(const uint8_t* const (&gates)[1], ptrdiff_t, int groups, const rnn::Row* row, ptrdiff_t offset,
          int32_t (*sums)[rows][rnn::kUnits]) {
  for (int r = 0; r < rows; ++r) {
    const uint8_t* w = gates[0];
    const int16_t* x = unpacked(row[r].rounded + offset);
    int32_t sum[rnn::kUnits] = {};
    for (int eight = 0; eight < 2 * groups; ++eight, x += 8) {
      for (int unit = 0; unit < rnn::kUnits; ++unit, w += 4) {
        for (int j = 0; j < 4; ++j) sum[unit] += (w[j] & 15) * x[j] + (w[j] >> 4) * x[j + 4];
      }
    }
    __builtin_memcpy(sums[0][r], sum, sizeof sum);
  }
}

}  // namespace

#include "arithmetic.h"

const rnn::Isa rnn::kPortable = {"portable", false, quantize, multiply, step, gru_reset, gru_finish};
