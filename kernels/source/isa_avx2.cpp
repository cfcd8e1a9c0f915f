// AVX2 with FMA. Rounded activations are int16; within four columns in the order 0 2 1 3, so that bytes 0 and 2 of the
// weights meet the first pair, bytes 1 and 3 the second, each by one multiply-add of 16-bit pairs, which can't overflow.
#include <immintrin.h>

#include "isa.h"

namespace {

constexpr int kWidth = 8;
typedef float Floats __attribute__((vector_size(32)));
typedef int32_t Ints __attribute__((vector_size(32)));

inline Floats fma(Floats a, Floats b, Floats c) { return (Floats)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c); }

inline Floats widen(const int16_t* from) {
  const __m128i narrow = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
  return (Floats)_mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(narrow));
}

void pack(const int32_t* rounded, uint8_t* to) {
  const __m256i order = _mm256_setr_epi8(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15,  //
                                         0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15);
  const __m256i low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(rounded));
  const __m256i high = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(rounded + 8));
  const __m256i narrow = _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xd8);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm256_shuffle_epi8(narrow, order));
}

inline __m256i pair(const void* rounded, ptrdiff_t index) {
  int32_t both;
  __builtin_memcpy(&both, static_cast<const uint8_t*>(rounded) + 4 * index, sizeof both);
  return _mm256_set1_epi32(both);
}

inline __m256i load_bytes(const uint8_t* from) { return _mm256_load_si256(reinterpret_cast<const __m256i*>(from)); }

inline void add_products(__m256i& sum, __m256i weights, __m256i activations) {
  sum = _mm256_add_epi32(sum, _mm256_madd_epi16(weights, activations));
}

template <int rows>
void dot8(const rnn::GatePanel& panel, const rnn::Row* row, int32_t (*sums)[rnn::kUnits]) {
  const __m256i low_bytes = _mm256_set1_epi16(0x00ff);
  const uint8_t* weights = static_cast<const uint8_t*>(panel.weights);
  const int groups = (panel.columns + 3) / 4;
  __m256i sum[rows][2] = {};
#pragma GCC unroll 2
  for (int group = 0; group < groups; ++group, weights += 4 * rnn::kUnits) {
    for (int half = 0; half < 2; ++half) {
      const __m256i w = load_bytes(weights + 32 * half);
      const __m256i even = _mm256_and_si256(w, low_bytes);
      const __m256i odd = _mm256_srli_epi16(w, 8);
      for (int r = 0; r < rows; ++r) {
        add_products(sum[r][half], even, pair(row[r].rounded, 2 * group));
        add_products(sum[r][half], odd, pair(row[r].rounded, 2 * group + 1));
      }
    }
  }
  for (int r = 0; r < rows; ++r) {
    for (int half = 0; half < 2; ++half) {
      _mm256_store_si256(reinterpret_cast<__m256i*>(sums[r] + 8 * half), sum[r][half]);
    }
  }
}

template <int rows>
inline void dot4_block(const uint8_t* weights, int groups, const rnn::Row* row, int begin,
                       int32_t (*sums)[rnn::kUnits]) {
  const __m256i low_nibble = _mm256_set1_epi16(0x000f);
  __m256i sum[rows][2] = {};
  for (int group = 0; group < groups; ++group, weights += 4 * rnn::kUnits) {
    const ptrdiff_t at = begin / 2 + 4 * group;
    for (int half = 0; half < 2; ++half) {
      const __m256i w = load_bytes(weights + 32 * half);
      const __m256i columns_0_2 = _mm256_and_si256(w, low_nibble);
      const __m256i columns_4_6 = _mm256_and_si256(_mm256_srli_epi16(w, 4), low_nibble);
      const __m256i columns_1_3 = _mm256_and_si256(_mm256_srli_epi16(w, 8), low_nibble);
      const __m256i columns_5_7 = _mm256_srli_epi16(w, 12);
      for (int r = 0; r < rows; ++r) {
        add_products(sum[r][half], columns_0_2, pair(row[r].rounded, at));
        add_products(sum[r][half], columns_1_3, pair(row[r].rounded, at + 1));
        add_products(sum[r][half], columns_4_6, pair(row[r].rounded, at + 2));
        add_products(sum[r][half], columns_5_7, pair(row[r].rounded, at + 3));
      }
    }
  }
  for (int r = 0; r < rows; ++r) {
    for (int half = 0; half < 2; ++half) {
      _mm256_store_si256(reinterpret_cast<__m256i*>(sums[r] + 8 * half), sum[r][half]);
    }
  }
}

}  // namespace

#include "arithmetic.h"

const rnn::Isa rnn::kAvx2 = {"avx2", quantize, multiply, step, gru_reset, gru_finish};
