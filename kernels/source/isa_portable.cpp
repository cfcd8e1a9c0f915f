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

void pack(const int32_t* rounded, uint8_t* to) {
  int16_t narrow[rnn::kUnits];
  for (int i = 0; i < rnn::kUnits; ++i) narrow[i] = int16_t(rounded[i]);
  __builtin_memcpy(to, narrow, sizeof narrow);
}

template <int rows>
void dot8(const rnn::GatePanel& panel, const rnn::Row* row, int32_t (*sums)[rnn::kUnits]) {
  for (int r = 0; r < rows; ++r) {
    const uint8_t* weights = static_cast<const uint8_t*>(panel.weights);
    const int16_t* rounded = static_cast<const int16_t*>(row[r].rounded);
    uint32_t sum[rnn::kUnits] = {};
    for (int column = 0; column < panel.columns; column += 4, weights += 4 * rnn::kUnits, rounded += 4) {
      for (int unit = 0; unit < rnn::kUnits; ++unit) {
        const uint8_t* w = weights + 4 * unit;
        sum[unit] += uint32_t(w[0] * rounded[0] + w[1] * rounded[1] + w[2] * rounded[2] + w[3] * rounded[3]);
      }
    }
    __builtin_memcpy(sums[r], sum, sizeof sum);
  }
}

template <int rows>
void dot4_block(const uint8_t* weights, int groups, const rnn::Row* row, int begin, int32_t (*sums)[rnn::kUnits]) {
  for (int r = 0; r < rows; ++r) {
    const int16_t* rounded = static_cast<const int16_t*>(row[r].rounded) + begin;
    const uint8_t* w = weights;
    int32_t sum[rnn::kUnits] = {};
    for (int group = 0; group < groups; ++group, rounded += 8) {
      for (int unit = 0; unit < rnn::kUnits; ++unit, w += 4) {
        for (int j = 0; j < 4; ++j) sum[unit] += (w[j] & 15) * rounded[j] + (w[j] >> 4) * rounded[j + 4];
      }
    }
    __builtin_memcpy(sums[r], sum, sizeof sum);
  }
}

}  // namespace

#include "arithmetic.h"

const rnn::Isa rnn::kPortable = {"portable", quantize, multiply, step, gru_reset, gru_finish};
