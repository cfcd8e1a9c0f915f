// A stack of recurrent layers as a node describes it, and its weights packed for reading.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "isa.h"
#include "memory.h"

namespace rnn {

struct Description {
  Cell cell = Cell::kLstm;
  int gates = 4;
  int directions = 1;
  bool reverse = false;  // of one direction; of two the second is reverse
  bool batch_first = false;
  int layers = 1;
  int input_size = 1;
  int hidden_size = 1;
  int block = 32;
  int levels = 2047;               // activations are rounded to integers within plus and minus this
  std::vector<int64_t> weight_bits;  // [layers * gates]

  int columns(int layer) const { return layer == 0 ? input_size : directions * hidden_size; }
  int panels() const { return (hidden_size + kUnits - 1) / kUnits; }
  int padded_hidden() const { return panels() * kUnits; }
  bool is_lstm() const { return cell == Cell::kLstm; }
  bool runs_backwards(int direction) const { return directions == 2 ? direction == 1 : reverse; }
  int bits(int layer, int gate) const { return static_cast<int>(weight_bits[size_t(layer) * gates + gate]); }
};

// Check what a node says; throws std::invalid_argument with one line.
Description describe(const std::string& cell, const std::string& direction, int64_t linear_before_reset, int64_t layout,
                     int64_t num_layers, int64_t input_size, int64_t hidden_size, const std::vector<int64_t>& weight_bits,
                     int64_t block_size, int64_t activation_bits);

// W or R of one layer and direction.
struct Matrix {
  int columns = 0;
  bool rounds = false;  // some gate takes rounded activations
  int block = 0;        // of gates of 4 bits; 0 without
  size_t bytes = 0;
  std::vector<GatePanel> panels;  // [panels][gates]
};

struct Layer {
  Matrix w[2], r[2];  // by direction
};

struct Constants {
  const uint8_t* weights;
  size_t weight_count;
  const float* scales;
  size_t scale_count;
  const float* bias;  // [layers * directions][2 * gates * hidden], or null
};

class Stack {
 public:
  // Throws std::invalid_argument with one line where the constants do not fit the description.
  Stack(Description description, const Constants& constants, const Isa& isa);

  const Description& description() const { return description_; }
  const Isa& isa() const { return isa_; }
  const Layer& layer(int index) const { return layers_[size_t(index)]; }
  int most_columns() const;

 private:
  Description description_;
  const Isa& isa_;
  Memory memory_;
  std::vector<Layer> layers_;
};

}  // namespace rnn
