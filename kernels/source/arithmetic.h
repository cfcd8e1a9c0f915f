// The arithmetic of all instruction sets. Before including it, a file defines, in an anonymous namespace:
//   Floats, Ints             GCC vectors of kWidth float and int32
//   fma(a, b, c)             a * b + c, rounded once where the CPU can
//   widen(const int16_t*)    kWidth values as Floats
//   kPackedBytes, pack(const int32_t*, narrow, uint8_t*)     a group of rounded activations, and what it takes
//   gates_at_once(rows)                                      whose products share what they read of the activations
//   dot8<rows, gates>(weights, line_stride, groups, const Row*, sums)            without the correction for + 128
//   dot4<rows, gates>(weights, line_stride, groups, const Row*, offset, sums)    one block, from that byte on, without that for + 8
// Nothing here is contracted into fused products unless it says fma: so integer paths and gates give the same bits
// everywhere. No header of the standard library with inline functions may be included: the linker keeps one copy of
// such a function, perhaps that of the newest instruction set.
namespace {

constexpr int kParts = rnn::kUnits / kWidth;

inline Floats load(const float* from) {
  Floats value;
  __builtin_memcpy(&value, from, sizeof value);
  return value;
}
inline void store(float* to, Floats value) { __builtin_memcpy(to, &value, sizeof value); }
inline Floats all(float value) { return value - Floats{}; }  // a sum would lose the sign of -0
inline Floats select(Ints mask, Floats yes, Floats no) { return (Floats)((mask & (Ints)yes) | (~mask & (Ints)no)); }
inline Floats least(Floats value, float limit) { return select(value > all(limit), all(limit), value); }  // keeps NaN
inline Floats most(Floats value, float limit) { return select(value < all(limit), all(limit), value); }

// e^x for |x| <= 87: 2^n (1 + r + r^2 q(r)), |r| <= ln2 / 2; q is a minimax polynomial, 3e-9 relative.
inline Floats exponential(Floats x) {
  const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer, in the low bits
  Floats shifted = x * 1.44269504f + magic;
  Floats n = shifted - magic;
  Floats r = (x - n * 0.693359375f) + n * 2.1219444e-4f;
  Floats q = 0.0013813145f * r + 0.0083694188f;
  q = q * r + 0.041668456f;
  q = q * r + 0.16666515f;
  q = q * r + 0.49999994f;
  Floats fraction = (r * r) * q + r + 1.0f;
  return fraction * (Floats)(((Ints)shifted + 127) << 23);  // the magic number's own bits are shifted out
}

inline Floats sigmoid(Floats x) { return 1.0f / (1.0f + exponential(least(most(-x, -87.0f), 87.0f))); }

// Near 0 a polynomial, since 1 - 2 / (e^2x + 1) loses its digits there.
inline Floats tanh(Floats x) {
  Ints sign = (Ints)x & (Ints)all(-0.0f);
  Floats size = (Floats)((Ints)x ^ sign);
  Floats square = x * x;
  Floats p = -0.0056607888f * square + 0.020602006f;
  p = p * square - 0.053729229f;
  p = p * square + 0.13331328f;
  p = p * square - 0.33333278f;
  Floats near = (p * square) * x + x;
  Floats far = 1.0f - 2.0f / (exponential(least(size + size, 87.0f)) + 1.0f);
  return select(size < all(0.625f), near, (Floats)((Ints)far | sign));
}

void step(rnn::Cell cell, const float* x, ptrdiff_t x_stride, const float* h, ptrdiff_t h_stride, const float* h_old,
          float* c, float* h_new) {
  auto gate = [&](int index, int unit) {
    return load(x + index * x_stride + unit) + load(h + index * h_stride + unit);
  };
  for (int unit = 0; unit < rnn::kUnits; unit += kWidth) {
    if (cell == rnn::Cell::kLstm) {
      Floats kept = sigmoid(gate(2, unit)) * load(c + unit);
      Floats state = sigmoid(gate(0, unit)) * tanh(gate(3, unit)) + kept;
      store(c + unit, state);
      store(h_new + unit, sigmoid(gate(1, unit)) * tanh(state));
    } else if (cell == rnn::Cell::kGruResetAfter) {
      Floats reset = sigmoid(gate(1, unit));
      Floats candidate = tanh(load(x + 2 * x_stride + unit) + reset * load(h + 2 * h_stride + unit));
      store(h_new + unit, sigmoid(gate(0, unit)) * (load(h_old + unit) - candidate) + candidate);
    } else if (cell == rnn::Cell::kRnnTanh) {
      store(h_new + unit, tanh(gate(0, unit)));
    } else {
      store(h_new + unit, most(gate(0, unit), 0.0f));
    }
  }
}

void gru_reset(const float* x, ptrdiff_t x_stride, const float* h, ptrdiff_t h_stride, const float* h_old, float* update,
               float* reset_h) {
  for (int unit = 0; unit < rnn::kUnits; unit += kWidth) {
    store(update + unit, sigmoid(load(x + unit) + load(h + unit)));
    Floats reset = sigmoid(load(x + x_stride + unit) + load(h + h_stride + unit));
    store(reset_h + unit, reset * load(h_old + unit));
  }
}

void gru_finish(const float* x, const float* h, const float* update, const float* h_old, float* h_new) {
  for (int unit = 0; unit < rnn::kUnits; unit += kWidth) {
    Floats candidate = tanh(load(x + unit) + load(h + unit));
    store(h_new + unit, load(update + unit) * (load(h_old + unit) - candidate) + candidate);
  }
}

void quantize(const float* values, int columns, int levels, int block, rnn::Row& row) {
  const int whole = columns / rnn::kUnits * rnn::kUnits;
  alignas(64) float tail[rnn::kUnits] = {};
  for (int column = whole; column < columns; ++column) tail[column - whole] = values[column];
  auto at = [&](int column) { return column < whole ? values + column : tail; };

  Ints most_bits = {};  // magnitudes compare as their bits do, with infinity and NaN above all numbers
  for (int column = 0; column < columns; column += rnn::kUnits) {
    for (int unit = 0; unit < rnn::kUnits; unit += kWidth) {
      Ints bits = (Ints)load(at(column) + unit) & 0x7fffffff;
      Ints above = bits > most_bits;
      most_bits = (above & bits) | (~above & most_bits);
    }
  }
  int32_t bits = 0;
  for (int lane = 0; lane < kWidth; ++lane) bits = most_bits[lane] > bits ? most_bits[lane] : bits;
  float most_value;
  __builtin_memcpy(&most_value, &bits, sizeof bits);

  float factor = 0.0f;
  row.scale = 0.0f;
  row.narrow = levels <= 127;
  if (bits >= 0x7f800000) {
    row.scale = __builtin_nanf("");
  } else if (most_value >= 0x1p-100f) {  // below it the factor overflows
    factor = static_cast<float>(levels) / most_value;
    row.scale = most_value / static_cast<float>(levels);
  }

  const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer, halves to even
  uint8_t* to = row.rounded;
  int32_t total = 0;
  int32_t* block_sum = row.sums + 1;
  Ints sum = {};
  for (int column = 0; column < columns; column += rnn::kUnits, to += kPackedBytes) {
    alignas(64) int32_t rounded[rnn::kUnits];
    for (int unit = 0; unit < rnn::kUnits; unit += kWidth) {
      Floats scaled = factor == 0.0f ? Floats{} : load(at(column) + unit) * factor;
      Ints integers = (Ints)(scaled + magic) - 0x4b400000;
      sum += integers;
      __builtin_memcpy(rounded + unit, &integers, sizeof integers);
    }
    pack(rounded, row.narrow, to);
    const int done = column + rnn::kUnits;
    if (done >= columns || (block && done % block == 0)) {
      int32_t reduced = 0;
      for (int lane = 0; lane < kWidth; ++lane) reduced += sum[lane];
      total += reduced;
      if (block) *block_sum++ = reduced;
      sum = Ints{};
    }
  }
  row.sums[0] = total;
}

template <int bits>
inline Floats weight(const void* weights, ptrdiff_t index) {
  if constexpr (bits == 32) return load(static_cast<const float*>(weights) + index);
  return widen(static_cast<const int16_t*>(weights) + index);
}

// Each output is the sum of partial sums: of `interleaved` columns in turn, and of stretches of 256 columns.
template <int bits, int rows>
void multiply_floats(const rnn::GatePanel& panel, const rnn::Row* row, float* out, ptrdiff_t stride) {
  constexpr int interleaved = rows == 1 ? 4 : rows == 2 ? 2 : 1;
  constexpr int stretch = 256;
  Floats total[rows][kParts] = {};
  for (int begin = 0; begin < panel.columns; begin += stretch) {
    const int end = begin + stretch < panel.columns ? begin + stretch : panel.columns;
    Floats sums[interleaved][rows][kParts] = {};
    int column = begin;
    for (; column + interleaved <= end; column += interleaved) {
      for (int i = 0; i < interleaved; ++i) {
        for (int part = 0; part < kParts; ++part) {
          Floats w = weight<bits>(panel.weights, ptrdiff_t(column + i) * rnn::kUnits + part * kWidth);
          for (int r = 0; r < rows; ++r) sums[i][r][part] = fma(w, all(row[r].values[column + i]), sums[i][r][part]);
        }
      }
    }
    for (; column < end; ++column) {
      for (int part = 0; part < kParts; ++part) {
        Floats w = weight<bits>(panel.weights, ptrdiff_t(column) * rnn::kUnits + part * kWidth);
        for (int r = 0; r < rows; ++r) sums[0][r][part] = fma(w, all(row[r].values[column]), sums[0][r][part]);
      }
    }
    for (int r = 0; r < rows; ++r) {
      for (int part = 0; part < kParts; ++part) {
        for (int i = 1; i < interleaved; ++i) sums[0][r][part] += sums[i][r][part];
        total[r][part] += sums[0][r][part];
      }
    }
  }
  for (int r = 0; r < rows; ++r) {
    for (int part = 0; part < kParts; ++part) {
      Floats product = total[r][part];
      if constexpr (bits == 16) product *= load(panel.scales + part * kWidth);
      store(out + r * stride + part * kWidth, product + load(panel.bias + part * kWidth));
    }
  }
}

// The sums less what the bytes' offset has put into them; both may be beyond 32 bits where their difference is not.
inline Floats corrected(const int32_t* sums, uint32_t offset) {
  typedef uint32_t Unsigned __attribute__((vector_size(sizeof(Ints))));
  Unsigned integers;
  __builtin_memcpy(&integers, sums, sizeof integers);
  return __builtin_convertvector((Ints)(integers - offset), Floats);
}

template <int rows, int gates>
void multiply_8(const rnn::GatePanel* panel, const rnn::Row* row, float* out, ptrdiff_t row_stride,
                ptrdiff_t gate_stride) {
  alignas(64) int32_t sums[gates][rows][rnn::kUnits];
  const uint8_t* weights[gates];
  for (int gate = 0; gate < gates; ++gate) weights[gate] = static_cast<const uint8_t*>(panel[gate].weights);
  dot8<rows, gates>(weights, panel->line_stride, (panel->columns + rnn::kGroup - 1) / rnn::kGroup, row, sums);
  for (int gate = 0; gate < gates; ++gate, out += gate_stride) {
    for (int r = 0; r < rows; ++r) {
      const uint32_t offset = 128u * uint32_t(row[r].sums[0]);
      for (int unit = 0; unit < rnn::kUnits; unit += kWidth) {
        Floats product = corrected(sums[gate][r] + unit, offset) * (load(panel[gate].scales + unit) * row[r].scale);
        store(out + r * row_stride + unit, product + load(panel[gate].bias + unit));
      }
    }
  }
}

template <int rows, int gates>
void multiply_4(const rnn::GatePanel* panel, const rnn::Row* row, float* out, ptrdiff_t row_stride,
                ptrdiff_t gate_stride) {
  const uint8_t* weights[gates];
  for (int gate = 0; gate < gates; ++gate) weights[gate] = static_cast<const uint8_t*>(panel[gate].weights);
  Floats total[gates][rows][kParts] = {};
  for (int begin = 0, block = 0; begin < panel->columns; begin += panel->block, ++block) {
    const int columns = begin + panel->block < panel->columns ? panel->block : panel->columns - begin;
    const int groups = (columns + rnn::kGroup - 1) / rnn::kGroup;
    alignas(64) int32_t sums[gates][rows][rnn::kUnits];
    dot4<rows, gates>(weights, panel->line_stride, groups, row, ptrdiff_t(begin / rnn::kGroup) * kPackedBytes, sums);
    for (int gate = 0; gate < gates; ++gate) {
      weights[gate] += ptrdiff_t(groups) * 2 * panel->line_stride;
      for (int r = 0; r < rows; ++r) {
        const uint32_t offset = 8u * uint32_t(row[r].sums[1 + block]);
        for (int part = 0; part < kParts; ++part) {
          Floats scale = load(panel[gate].scales + ptrdiff_t(block) * rnn::kUnits + part * kWidth);
          total[gate][r][part] += scale * corrected(sums[gate][r] + part * kWidth, offset);
        }
      }
    }
  }
  for (int gate = 0; gate < gates; ++gate, out += gate_stride) {
    for (int r = 0; r < rows; ++r) {
      for (int part = 0; part < kParts; ++part) {
        Floats product = total[gate][r][part] * row[r].scale;
        store(out + r * row_stride + part * kWidth, product + load(panel[gate].bias + part * kWidth));
      }
    }
  }
}

// As many gates as can be at once, of those that follow with equally many bits and lines equally far apart, as those of a
// GRU with the reset gate before the product are not; returns how many.
template <int rows, int most = gates_at_once(rows)>
int multiply_gates(const rnn::GatePanel* panel, int gates, const rnn::Row* row, float* out, ptrdiff_t row_stride,
                   ptrdiff_t gate_stride) {
  if constexpr (most > 1) {
    bool fits = most <= gates;
    for (int gate = 1; fits && gate < most; ++gate) {
      fits = panel[gate].bits == panel->bits && panel[gate].line_stride == panel->line_stride;
    }
    if (!fits) return multiply_gates<rows, most - 1>(panel, gates, row, out, row_stride, gate_stride);
  }
  if (panel->bits == 8) {
    multiply_8<rows, most>(panel, row, out, row_stride, gate_stride);
    return most;
  }
  if constexpr (rows <= 2) {
    if (panel->bits == 4) {
      multiply_4<rows, most>(panel, row, out, row_stride, gate_stride);
      return most;
    }
  }
  if (panel->bits == 32) {
    multiply_floats<32, rows>(*panel, row, out, row_stride);
  } else {
    multiply_floats<16, rows>(*panel, row, out, row_stride);
  }
  return 1;
}

template <int rows>
void multiply_rows(const rnn::GatePanel* panel, int gates, const rnn::Row* row, float* out, ptrdiff_t row_stride,
                   ptrdiff_t gate_stride) {
  while (gates > 0) {
    const int done = multiply_gates<rows>(panel, gates, row, out, row_stride, gate_stride);
    gates -= done, panel += done, out += done * gate_stride;
  }
}

void multiply(const rnn::GatePanel* panel, int gates, const rnn::Row* row, int rows, float* out, ptrdiff_t row_stride,
              ptrdiff_t gate_stride) {
  bool four_bits = false;  // whose products need more registers
  for (int gate = 0; gate < gates; ++gate) four_bits |= panel[gate].bits == 4;
  for (; rows >= 4 && !four_bits; rows -= 4, row += 4, out += 4 * row_stride) {
    multiply_rows<4>(panel, gates, row, out, row_stride, gate_stride);
  }
  for (; rows >= 2; rows -= 2, row += 2, out += 2 * row_stride) {
    multiply_rows<2>(panel, gates, row, out, row_stride, gate_stride);
  }
  if (rows) multiply_rows<1>(panel, gates, row, out, row_stride, gate_stride);
}

}  // namespace
