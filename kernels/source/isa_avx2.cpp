// AVX2 with FMA. A group of sixteen rounded activations is packed twice, for two kinds of products that never saturate:
//   for weights of 8 bits as int16, within four columns in the order 0 2 1 3: bytes 0 and 2 of the weights meet the first
//   pair, bytes 1 and 3 the second;
//   for 4 bits as 64 * high + low, both int8: for each eight columns high 0-3, high 4-7, low 0-3, low 4-7. Products with
//   weights up to 15 are summed in 16 bits over a block: 64 / 4 times 2 * 15 * 63 is below 2^15.
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

constexpr int kPackedBytes = 64;

inline __m256i load_bytes(const void* from) { return _mm256_load_si256(static_cast<const __m256i*>(from)); }
inline void store_bytes(void* to, __m256i bytes) { _mm256_store_si256(static_cast<__m256i*>(to), bytes); }

void pack(const int32_t* rounded, bool, uint8_t* to) {
  const __m256i order = _mm256_setr_epi8(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15,  //
                                         0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15);
  const __m256i packed = _mm256_packs_epi32(load_bytes(rounded), load_bytes(rounded + 8));
  const __m256i narrow = _mm256_permute4x64_epi64(packed, 0xd8);
  store_bytes(to, _mm256_shuffle_epi8(narrow, order));
  const __m256i low = _mm256_and_si256(narrow, _mm256_set1_epi16(63));
  store_bytes(to + 32, _mm256_packs_epi16(_mm256_srai_epi16(narrow, 6), low));
}

// The 32 bits at `index`, in all lanes.
inline __m256i everywhere(const uint8_t* rounded, int index) {
  int32_t word;
  __builtin_memcpy(&word, rounded + 4 * index, sizeof word);
  return _mm256_set1_epi32(word);
}

inline void add_products(__m256i& sum, __m256i weights, __m256i activations) {
  sum = _mm256_add_epi32(sum, _mm256_madd_epi16(weights, activations));
}

inline void add_byte_products(__m256i& sum, __m256i weights, __m256i activations) {
  sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(weights, activations));
}

constexpr int gates_at_once(int) { return 1; }

template <int rows, int>
void dot8(const uint8_t* const (&gates)[1], ptrdiff_t, int groups, const rnn::Row* row, int32_t (*sums)[rows][rnn::kUnits]) {
  const uint8_t* weights = gates[0];
  const __m256i low_bytes = _mm256_set1_epi16(0x00ff);
  __m256i sum[rows][2] = {};
  for (ptrdiff_t group = 0; group < groups; ++group) {
#pragma GCC unroll 1  // unrolled, GCC takes more registers than there are
    for (int four = 0; four < 4; ++four, weights += 4 * rnn::kUnits) {
      const __m256i w0 = load_bytes(weights), w1 = load_bytes(weights + 32);
      const __m256i even0 = _mm256_and_si256(w0, low_bytes), odd0 = _mm256_srli_epi16(w0, 8);
      const __m256i even1 = _mm256_and_si256(w1, low_bytes), odd1 = _mm256_srli_epi16(w1, 8);
      for (int r = 0; r < rows; ++r) {
        const uint8_t* x = row[r].rounded + group * kPackedBytes;
        const __m256i even = everywhere(x, 2 * four), odd = everywhere(x, 2 * four + 1);
        add_products(sum[r][0], even0, even);
        add_products(sum[r][1], even1, even);
        add_products(sum[r][0], odd0, odd);
        add_products(sum[r][1], odd1, odd);
      }
    }
  }
  for (int r = 0; r < rows; ++r) {
    for (int half = 0; half < 2; ++half) store_bytes(sums[0][r] + 8 * half, sum[r][half]);
  }
}

template <int rows, int>
inline void dot4(const uint8_t* const (&gates)[1], ptrdiff_t, int groups, const rnn::Row* row, ptrdiff_t offset,
                 int32_t (*sums)[rows][rnn::kUnits]) {
  const uint8_t* weights = gates[0];
  const __m256i low_nibbles = _mm256_set1_epi8(0x0f);
  __m256i high[rows][2] = {}, low[rows][2] = {};
  for (ptrdiff_t group = 0; group < groups; ++group) {
#pragma GCC unroll 1
    for (int eight = 0; eight < 2; ++eight) {
      for (int half = 0; half < 2; ++half, weights += 32) {
        const __m256i w = load_bytes(weights);
        const __m256i first = _mm256_and_si256(w, low_nibbles);
        const __m256i second = _mm256_and_si256(_mm256_srli_epi16(w, 4), low_nibbles);
        for (int r = 0; r < rows; ++r) {
          const uint8_t* x = row[r].rounded + offset + group * kPackedBytes + 32 + 16 * eight;
          add_byte_products(high[r][half], first, everywhere(x, 0));
          add_byte_products(high[r][half], second, everywhere(x, 1));
          add_byte_products(low[r][half], first, everywhere(x, 2));
          add_byte_products(low[r][half], second, everywhere(x, 3));
        }
      }
    }
  }
  for (int r = 0; r < rows; ++r) {
    for (int half = 0; half < 2; ++half) {
      __m256i sum = _mm256_madd_epi16(high[r][half], _mm256_set1_epi16(64));
      add_products(sum, low[r][half], _mm256_set1_epi16(1));
      store_bytes(sums[0][r] + 8 * half, sum);
    }
  }
}

}  // namespace

#include "arithmetic.h"

const rnn::Isa rnn::kAvx2 = {"avx2", false, quantize, multiply, step, gru_reset, gru_finish};
