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

constexpr int kPackedBytes = 32;

void pack(const int32_t* rounded, uint8_t* to) {
  for (int i = 0; i < rnn::kGroup; ++i) {
    uint8_t* four = to + i / 4 * 8 + i % 4;
    four[0] = uint8_t(rounded[i] >> 6);
    four[4] = uint8_t(rounded[i] & 63);
  }
}

// The 32 bits at `index`, in all lanes.
inline __m512i everywhere(const uint8_t* rounded, int index) {
  int32_t word;
  __builtin_memcpy(&word, rounded + 4 * index, sizeof word);
  return _mm512_set1_epi32(word);
}

inline void store_sums(int32_t* to, __m512i high, __m512i low) {
  _mm512_storeu_si512(to, _mm512_add_epi32(_mm512_slli_epi32(high, 6), low));
}

template <int rows>
void dot8(const uint8_t* weights, int groups, const rnn::Row* row, int32_t (*sums)[rnn::kUnits]) {
  __m512i high[rows] = {}, low[rows] = {};
  for (ptrdiff_t group = 0; group < groups; ++group) {
    for (int four = 0; four < 4; ++four, weights += 4 * rnn::kUnits) {
      const __m512i w = load_bytes(weights);
      for (int r = 0; r < rows; ++r) {
        const uint8_t* x = row[r].rounded + group * kPackedBytes;
        high[r] = _mm512_dpbusd_epi32(high[r], w, everywhere(x, 2 * four));
        low[r] = _mm512_dpbusd_epi32(low[r], w, everywhere(x, 2 * four + 1));
      }
    }
  }
  for (int r = 0; r < rows; ++r) store_sums(sums[r], high[r], low[r]);
}

template <int rows>
inline void dot4(const uint8_t* weights, int groups, const rnn::Row* row, ptrdiff_t offset,
                 int32_t (*sums)[rnn::kUnits]) {
  const __m512i low_nibbles = _mm512_set1_epi8(0x0f);
  __m512i high[rows] = {}, low[rows] = {};
  for (ptrdiff_t group = 0; group < groups; ++group) {
    for (int eight = 0; eight < 2; ++eight, weights += 4 * rnn::kUnits) {
      const __m512i w = load_bytes(weights);
      const __m512i first = _mm512_and_si512(w, low_nibbles);
      const __m512i second = _mm512_and_si512(_mm512_srli_epi16(w, 4), low_nibbles);
      for (int r = 0; r < rows; ++r) {
        const uint8_t* x = row[r].rounded + offset + group * kPackedBytes;
        high[r] = _mm512_dpbusd_epi32(high[r], first, everywhere(x, 4 * eight));
        low[r] = _mm512_dpbusd_epi32(low[r], first, everywhere(x, 4 * eight + 1));
        high[r] = _mm512_dpbusd_epi32(high[r], second, everywhere(x, 4 * eight + 2));
        low[r] = _mm512_dpbusd_epi32(low[r], second, everywhere(x, 4 * eight + 3));
      }
    }
  }
  for (int r = 0; r < rows; ++r) store_sums(sums[r], high[r], low[r]);
}

}  // namespace

#include "arithmetic.h"

const rnn::Isa rnn::kAvx512Vnni = {"avx512vnni", quantize, multiply, step, gru_reset, gru_finish};
