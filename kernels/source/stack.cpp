#include "stack.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>

namespace rnn {
namespace {

constexpr int kLine = 4 * kUnits;  // bytes of weights of 8 and 4 bits that are read together
constexpr int64_t kLargest = 1 << 20;  // of layers and sizes: products of three stay within 63 bits

[[noreturn]] void refuse(const std::string& message) { throw std::invalid_argument(message); }

void within(const char* name, int64_t value, int64_t least, int64_t most) {
  if (value < least || value > most) {
    refuse(std::string(name) + " = " + std::to_string(value) + ": choose " + std::to_string(least) + " to " +
           std::to_string(most));
  }
}

void one_of(const char* name, int64_t value, std::initializer_list<int64_t> known) {
  if (std::find(known.begin(), known.end(), value) != known.end()) return;
  std::string choices;
  for (int64_t choice : known) choices += (choices.empty() ? "" : " or ") + std::to_string(choice);
  refuse(std::string(name) + " = " + std::to_string(value) + ": choose " + choices);
}

size_t row_bytes(int bits, int columns) { return bits == 4 ? size_t(columns + 1) / 2 : size_t(columns) * bits / 8; }

size_t row_scales(int bits, int columns, int block) {
  return bits == 32 ? 0 : bits == 4 ? size_t(columns + block - 1) / block : 1;
}

size_t packed_bytes(int bits, int columns) {
  const size_t wide = bits <= 8 ? round_up(size_t(columns), kGroup) : size_t(columns);
  return round_up(wide * kUnits * bits / 8, kCacheLine);
}

// What is left of the constants, in the order in which the file holds them.
struct Reader {
  const uint8_t* weights;
  const float* scales;
};

// The gates whose lines of 64 bytes lie in turn.
struct Turn {
  int first, count;
};

Turn turn_of(const Description& d, const Isa& isa, int layer, int gate) {
  const Turn alone{gate, 1};
  if (!isa.gates_in_turn || d.bits(layer, gate) > 8) return alone;
  const bool in_two_steps = d.cell == Cell::kGruResetBefore;  // the candidate gate comes later
  const int first = in_two_steps && gate == 2 ? 2 : 0, last = in_two_steps && gate < 2 ? 2 : d.gates;
  for (int other = first; other < last; ++other) {
    if (d.bits(layer, other) != d.bits(layer, gate)) return alone;
  }
  return {first, last - first};
}

// One unit's row of weights into the panel, at that unit's place.
void pack_row(const uint8_t* row, int bits, int columns, int unit, int line_stride, uint8_t* panel) {
  if (bits >= 16) {
    const size_t size = size_t(bits) / 8;
    for (int column = 0; column < columns; ++column) {
      std::memcpy(panel + (size_t(column) * kUnits + unit) * size, row + column * size, size);
    }
  } else if (bits == 8) {
    for (int column = 0; column < columns; ++column) {
      if (row[column] == 0x80) refuse("weights of 8 bits hold -128: choose -127 to 127");
      panel[column / 4 * line_stride + unit * 4 + column % 4] = uint8_t(row[column] ^ 0x80);
    }
  } else {
    for (int column = 0; column < columns; ++column) {
      const int value = ((row[column / 2] >> (column % 2 * 4)) & 15) ^ 8;
      uint8_t& place = panel[column / 8 * line_stride + unit * 4 + column % 4];
      place = column % 8 < 4 ? uint8_t((place & 0xf0) | value) : uint8_t((place & 0x0f) | value << 4);
    }
  }
}

Matrix pack_matrix(const Description& d, const Isa& isa, int layer, int columns, const float* bias, bool recurrent,
                   Reader& from, Arena& to) {
  Matrix matrix;
  matrix.columns = columns;
  const int hidden = d.hidden_size;
  const size_t before = to.used;
  std::vector<const uint8_t*> gate_weights;
  std::vector<const float*> gate_scales;
  for (int gate = 0; gate < d.gates; ++gate) {
    const int bits = d.bits(layer, gate);
    matrix.rounds |= bits <= 8;
    if (bits == 4) matrix.block = d.block;
    gate_weights.push_back(from.weights);
    gate_scales.push_back(from.scales);
    from.weights += row_bytes(bits, columns) * hidden;
    from.scales += row_scales(bits, columns, d.block) * hidden;
  }
  for (int panel = 0; panel < d.panels(); ++panel) {
    uint8_t* lines = nullptr;
    for (int gate = 0; gate < d.gates; ++gate) {
      const int bits = d.bits(layer, gate);
      const size_t scales = row_scales(bits, columns, d.block);
      const Turn turn = turn_of(d, isa, layer, gate);
      const int line_stride = turn.count * kLine;
      if (gate == turn.first) {
        const size_t bytes = turn.count * packed_bytes(bits, columns);
        lines = to.take<uint8_t>(bytes);
        if (lines) std::memset(lines, bits == 8 ? 0x80 : bits == 4 ? 0x88 : 0, bytes);
      }
      uint8_t* weights = lines ? lines + (gate - turn.first) * kLine : nullptr;
      float* packed_scales = to.take<float>(scales * kUnits);
      float* packed_bias = to.take<float>(kUnits);
      matrix.panels.push_back({bits, columns, d.block, line_stride, weights, packed_scales, packed_bias});
      if (!to.begin) continue;

      std::fill_n(packed_scales, scales * kUnits, 0.0f);
      std::fill_n(packed_bias, kUnits, 0.0f);
      // The two biases are added once, with W; only a GRU's candidate may keep that of R for itself.
      const bool apart = d.cell == Cell::kGruResetAfter && gate == 2;
      for (int unit = 0; unit < std::min(kUnits, hidden - panel * kUnits); ++unit) {
        const int row = panel * kUnits + unit;
        pack_row(gate_weights[gate] + row * row_bytes(bits, columns), bits, columns, unit, line_stride, weights);
        for (size_t i = 0; i < scales; ++i) packed_scales[i * kUnits + unit] = gate_scales[gate][row * scales + i];
        if (!bias) continue;
        const float of_w = bias[gate * hidden + row], of_r = bias[(d.gates + gate) * hidden + row];
        packed_bias[unit] = recurrent ? (apart ? of_r : 0.0f) : (apart ? of_w : of_w + of_r);
      }
    }
  }
  matrix.bytes = to.used - before;
  return matrix;
}

}  // namespace

Description describe(const std::string& cell, const std::string& direction, int64_t linear_before_reset, int64_t layout,
                     int64_t num_layers, int64_t input_size, int64_t hidden_size, const std::vector<int64_t>& weight_bits,
                     int64_t block_size, int64_t activation_bits) {
  Description d;
  one_of("linear_before_reset", linear_before_reset, {0, 1});
  if (cell == "lstm") {
    d.cell = Cell::kLstm, d.gates = 4;
  } else if (cell == "gru") {
    d.cell = linear_before_reset ? Cell::kGruResetAfter : Cell::kGruResetBefore, d.gates = 3;
  } else if (cell == "rnn_tanh" || cell == "rnn_relu") {
    d.cell = cell == "rnn_tanh" ? Cell::kRnnTanh : Cell::kRnnRelu, d.gates = 1;
  } else {
    refuse("cell = '" + cell + "': choose lstm, gru, rnn_tanh or rnn_relu");
  }
  if (direction != "forward" && direction != "reverse" && direction != "bidirectional") {
    refuse("direction = '" + direction + "': choose forward, reverse or bidirectional");
  }
  d.directions = direction == "bidirectional" ? 2 : 1;
  d.reverse = direction == "reverse";
  one_of("layout", layout, {0, 1});
  d.batch_first = layout == 1;
  within("num_layers", num_layers, 1, 1024);
  within("input_size", input_size, 1, kLargest);
  within("hidden_size", hidden_size, 1, kLargest);
  d.layers = int(num_layers), d.input_size = int(input_size), d.hidden_size = int(hidden_size);
  one_of("block_size", block_size, {32, 64});
  d.block = int(block_size);
  one_of("activation_bits", activation_bits, {12, 8});
  d.levels = activation_bits == 12 ? 2047 : 127;
  if (weight_bits.size() != size_t(d.layers) * d.gates) {
    refuse("weight_bits has " + std::to_string(weight_bits.size()) + " values: give " +
           std::to_string(size_t(d.layers) * d.gates) + ", one for each layer and gate");
  }
  d.weight_bits = weight_bits;
  for (int layer = 0; layer < d.layers; ++layer) {
    for (int gate = 0; gate < d.gates; ++gate) {
      one_of("weight_bits", weight_bits[size_t(layer) * d.gates + gate], {32, 16, 8, 4});
      const int widest = std::max(d.columns(layer), d.hidden_size);
      if (d.bits(layer, gate) <= 8 && widest > kMostColumns) {
        refuse("layer " + std::to_string(layer) + " has rows of " + std::to_string(widest) +
               " weights: with 8 or 4 bits they have at most " + std::to_string(kMostColumns));
      }
    }
  }
  return d;
}

Stack::Stack(Description description, const Constants& constants, const Isa& isa)
    : description_(std::move(description)), isa_(isa) {
  const Description& d = description_;
  size_t weights = 0, scales = 0;
  for (int layer = 0; layer < d.layers; ++layer) {
    for (int columns : {d.columns(layer), d.hidden_size}) {
      for (int gate = 0; gate < d.gates; ++gate) {
        weights += row_bytes(d.bits(layer, gate), columns) * d.hidden_size * d.directions;
        scales += row_scales(d.bits(layer, gate), columns, d.block) * d.hidden_size * d.directions;
      }
    }
  }
  if (constants.weight_count != weights) {
    refuse("weights has " + std::to_string(constants.weight_count) + " bytes: these attributes take " +
           std::to_string(weights));
  }
  if (constants.scale_count != scales) {
    refuse("scales has " + std::to_string(constants.scale_count) + " values: these attributes take " +
           std::to_string(scales));
  }
  for (size_t i = 0; i < scales; ++i) {
    if (!std::isfinite(constants.scales[i])) refuse("scales holds a value that is not finite");
  }

  Arena arena{nullptr};
  for (int pass = 0; pass < 2; ++pass) {  // count, then pack
    if (pass == 1) {
      memory_ = allocate(arena.used);
      arena = Arena{memory_.get()};
    }
    layers_.clear();
    Reader reader{constants.weights, constants.scales};
    for (int layer = 0; layer < d.layers; ++layer) {
      Layer packed;
      for (int direction = 0; direction < d.directions; ++direction) {
        const size_t row = size_t(layer) * d.directions + direction;
        const float* bias = constants.bias ? constants.bias + row * 2 * d.gates * d.hidden_size : nullptr;
        packed.w[direction] = pack_matrix(d, isa, layer, d.columns(layer), bias, false, reader, arena);
        packed.r[direction] = pack_matrix(d, isa, layer, d.hidden_size, bias, true, reader, arena);
      }
      layers_.push_back(std::move(packed));
    }
  }
}

int Stack::most_columns() const {
  return std::max({description_.columns(0), description_.columns(1), description_.hidden_size});
}

}  // namespace rnn
