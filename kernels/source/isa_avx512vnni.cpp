// AVX-512 with VNNI. A rounded activation is 64 * high + low, both in a byte; for each four columns four high bytes, then
// four low ones. Weights are unsigned bytes, as the instruction wants them.
#ifdef RNNEXPORT_EMULATE_AVX512
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#else
#include <immintrin.h>
#endif

#include "isa.h"

namespace {

constexpr int kWidth = 16;
typedef float Floats __attribute__((vector_size(64)));
typedef int32_t Ints __attribute__((vector_size(64)));

inline __m512i load_bytes(const void* from) { return _mm512_loadu_si512(from); }

#ifdef RNNEXPORT_EMULATE_AVX512
inline Floats fma(Floats a, Floats b, Floats c) { return a * b + c; }
inline Floats widen(const int16_t* from) {
  Floats wide;
  for (int i = 0; i < kWidth; ++i) wide[i] = float(from[i]);
  return wide;
}
#else
inline Floats fma(Floats a, Floats b, Floats c) { return (Floats)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c); }
inline Floats widen(const int16_t* from) {
  const __m256i narrow = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  return (Floats)_mm512_cvtepi32_ps(_mm512_cvtepi16_epi32(narrow));
}
#endif

void pack(const int32_t* rounded, uint8_t* to) {
  for (int i = 0; i < rnn::kUnits; ++i) {
    uint8_t* group = to + i / 4 * 8 + i % 4;
    group[0] = uint8_t(rounded[i] >> 6);
    group[4] = uint8_t(rounded[i] & 63);
  }
}

inline __m512i four(const void* rounded, ptrdiff_t index) {
  int32_t bytes;
  __builtin_memcpy(&bytes, static_cast<const uint8_t*>(rounded) + 4 * index, sizeof bytes);
  return _mm512_set1_epi32(bytes);
}

inline void store_sums(int32_t* to, __m512i high, __m512i low) {
  _mm512_storeu_si512(to, _mm512_add_epi32(_mm512_slli_epi32(high, 6), low));
}

template <int rows>
void dot8(const rnn::GatePanel& panel, const rnn::Row* row, int32_t (*sums)[rnn::kUnits]) {
  const uint8_t* weights = static_cast<const uint8_t*>(panel.weights);
  const int groups = (panel.columns + 3) / 4;
  __m512i high[rows] = {}, low[rows] = {};
#pragma GCC unroll 2
  for (int group = 0; group < groups; ++group, weights += 4 * rnn::kUnits) {
    const __m512i w = load_bytes(weights);
    for (int r = 0; r < rows; ++r) {
      high[r] = _mm512_dpbusd_epi32(high[r], w, four(row[r].rounded, 2 * group));
      low[r] = _mm512_dpbusd_epi32(low[r], w, four(row[r].rounded, 2 * group + 1));
    }
  }
  for (int r = 0; r < rows; ++r) store_sums(sums[r], high[r], low[r]);
}

template <int rows>
inline void dot4_block(const uint8_t* weights, int groups, const rnn::Row* row, int begin,
                       int32_t (*sums)[rnn::kUnits]) {
  const __m512i low_nibble = _mm512_set1_epi8(0x0f);
  __m512i high[rows] = {}, low[rows] = {};
  for (int group = 0; group < groups; ++group, weights += 4 * rnn::kUnits) {
    const ptrdiff_t at = begin / 2 + 4 * group;
    const __m512i w = load_bytes(weights);
    const __m512i columns_0_3 = _mm512_and_si512(w, low_nibble);
    const __m512i columns_4_7 = _mm512_and_si512(_mm512_srli_epi16(w, 4), low_nibble);
    for (int r = 0; r < rows; ++r) {
      high[r] = _mm512_dpbusd_epi32(high[r], columns_0_3, four(row[r].rounded, at));
      low[r] = _mm512_dpbusd_epi32(low[r], columns_0_3, four(row[r].rounded, at + 1));
      high[r] = _mm512_dpbusd_epi32(high[r], columns_4_7, four(row[r].rounded, at + 2));
      low[r] = _mm512_dpbusd_epi32(low[r], columns_4_7, four(row[r].rounded, at + 3));
    }
  }
  for (int r = 0; r < rows; ++r) store_sums(sums[r], high[r], low[r]);
}

}  // namespace

#include "arithmetic.h"

const rnn::Isa rnn::kAvx512Vnni = {"avx512vnni", quantize, multiply, step, gru_reset, gru_finish};
