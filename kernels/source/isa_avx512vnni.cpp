// AVX-512 with VNNI. A rounded activation of 12 bits is 64 * high + low, both in a byte; for each four columns four high
// bytes, then four low ones. One of 8 bits is the high byte alone, and takes one product. Weights are unsigned bytes, as the
// instruction wants them.
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

void pack(const int32_t* rounded, bool narrow, uint8_t* to) {
  Ints integers;
  __builtin_memcpy(&integers, rounded, sizeof integers);
  const __m128i high = _mm512_cvtsepi32_epi8((__m512i)(narrow ? integers : integers >> 6));
  const __m128i low = _mm512_cvtsepi32_epi8((__m512i)(integers & 63));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm_unpacklo_epi32(high, low));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to + 16), _mm_unpackhi_epi32(high, low));
}

// The 32 bits at `index`, in all lanes.
inline __m512i everywhere(const uint8_t* rounded, ptrdiff_t index) {
  int32_t word;
  __builtin_memcpy(&word, rounded + 4 * index, sizeof word);
  return _mm512_set1_epi32(word);
}

// To spread an activation over all lanes is a load like that of the weights, and a sum waits some cycles for its own last
// product: both cost less where several gates go side by side.
constexpr int gates_at_once(int rows) { return rows == 1 ? 4 : 1; }

// The sums of one row and gate, by the activations' parts.
template <int parts>
inline void clear(__m512i (&sum)[parts]) {
  for (__m512i& part : sum) part = _mm512_setzero_si512();
}

template <int parts>
inline void store_sums(int32_t* to, const __m512i (&sum)[parts]) {
  _mm512_storeu_si512(to, parts == 1 ? sum[0] : _mm512_add_epi32(_mm512_slli_epi32(sum[0], 6), sum[parts - 1]));
}

template <int parts, int rows, int gates>
inline void products8(const uint8_t* const (&weights)[gates], ptrdiff_t line_stride, int groups, const rnn::Row* row,
                      int32_t (*sums)[rows][rnn::kUnits]) {
  __m512i sum[gates][rows][parts];
  for (int gate = 0; gate < gates; ++gate) {
    for (int r = 0; r < rows; ++r) clear(sum[gate][r]);
  }
  for (ptrdiff_t four = 0; four < 4 * ptrdiff_t(groups); ++four) {
    for (int r = 0; r < rows; ++r) {
      __m512i x[parts];
      for (int part = 0; part < parts; ++part) x[part] = everywhere(row[r].rounded, 2 * four + part);
      for (int gate = 0; gate < gates; ++gate) {
        const __m512i w = load_bytes(weights[gate] + four * line_stride);
        for (int part = 0; part < parts; ++part) sum[gate][r][part] = _mm512_dpbusd_epi32(sum[gate][r][part], w, x[part]);
      }
    }
  }
  for (int gate = 0; gate < gates; ++gate) {
    for (int r = 0; r < rows; ++r) store_sums(sums[gate][r], sum[gate][r]);
  }
}

template <int parts, int rows, int gates>
inline void products4(const uint8_t* const (&weights)[gates], ptrdiff_t line_stride, int groups, const rnn::Row* row,
                      ptrdiff_t offset, int32_t (*sums)[rows][rnn::kUnits]) {
  const __m512i low_nibbles = _mm512_set1_epi8(0x0f);
  __m512i sum[gates][rows][parts];
  for (int gate = 0; gate < gates; ++gate) {
    for (int r = 0; r < rows; ++r) clear(sum[gate][r]);
  }
  for (ptrdiff_t eight = 0; eight < 2 * ptrdiff_t(groups); ++eight) {
    for (int gate = 0; gate < gates; ++gate) {
      const __m512i w = load_bytes(weights[gate] + eight * line_stride);
      const __m512i first = _mm512_and_si512(w, low_nibbles);
      const __m512i second = _mm512_and_si512(_mm512_srli_epi16(w, 4), low_nibbles);
      for (int r = 0; r < rows; ++r) {
        const uint8_t* x = row[r].rounded + offset;
        for (int part = 0; part < parts; ++part) {
          __m512i& own = sum[gate][r][part];
          own = _mm512_dpbusd_epi32(own, first, everywhere(x, 4 * eight + part));
          own = _mm512_dpbusd_epi32(own, second, everywhere(x, 4 * eight + 2 + part));
        }
      }
    }
  }
  for (int gate = 0; gate < gates; ++gate) {
    for (int r = 0; r < rows; ++r) store_sums(sums[gate][r], sum[gate][r]);
  }
}

template <int rows, int gates>
void dot8(const uint8_t* const (&weights)[gates], ptrdiff_t line_stride, int groups, const rnn::Row* row,
          int32_t (*sums)[rows][rnn::kUnits]) {
  if (row->narrow) return products8<1, rows>(weights, line_stride, groups, row, sums);
  products8<2, rows>(weights, line_stride, groups, row, sums);
}

template <int rows, int gates>
inline void dot4(const uint8_t* const (&weights)[gates], ptrdiff_t line_stride, int groups, const rnn::Row* row,
                 ptrdiff_t offset, int32_t (*sums)[rows][rnn::kUnits]) {
  if (row->narrow) return products4<1, rows>(weights, line_stride, groups, row, offset, sums);
  products4<2, rows>(weights, line_stride, groups, row, offset, sums);
}

}  // namespace

#include "arithmetic.h"

const rnn::Isa rnn::kAvx512Vnni = {"avx512vnni", true, quantize, multiply, step, gru_reset, gru_finish};
