// What each instruction set brings: products of packed weights with activations, and the gates.
// One source (arithmetic.h) is compiled for each of them; isa_*.cpp fill in the few lines that differ.
#pragma once
#include <cstddef>
#include <cstdint>

namespace rnn {

constexpr int kUnits = 16;             // hidden units in a panel
constexpr int kMostColumns = 8192;     // 127 * 2047 * 8192 < 2^31: sums of 8-bit weights fit
constexpr int kGroup = 16;             // columns of 8 and 4 bits, and rounded activations, are padded to a multiple of it
constexpr int kMostPackedBytes = 64;   // that a group of rounded activations takes

enum class Cell { kLstm, kGruResetAfter, kGruResetBefore, kRnnTanh, kRnnRelu };

// The weights of sixteen units of one gate, in the order in which they are read:
//   32 and 16 bits   [columns][16]
//   8 bits           [padded columns / 4][16][4] as value + 128
//   4 bits           [padded columns / 8][16][4] as value + 8, column j below column j + 4 in a byte
// with scales [16], for 4 bits [blocks][16]. Where an instruction set takes several gates at once, those of 8 and 4 bits
// lie line by line in turn, so that they are read as one stream.
struct GatePanel {
  int bits;
  int columns;
  int block;
  int line_stride;  // bytes from one line of 64 to the gate's next
  const void* weights;
  const float* scales;
  const float* bias;
};

// One vector of activations as the products want it.
struct Row {
  const float* values;  // for weights of 32 and 16 bits
  uint8_t* rounded;     // for 8 and 4 bits; in a form of the instruction set's own
  int32_t* sums;        // of the rounded: in all, then of each block
  float scale;
  bool narrow;          // rounded to 8 bits or fewer
};

struct Isa {
  const char* name;
  bool gates_in_turn;  // how it wants weights of 8 and 4 bits
  // Round `columns` values to integers within ±levels, and sum them; by blocks where block is not 0.
  void (*quantize)(const float* values, int columns, int levels, int block, Row& row);
  // out[row * row_stride + gate * gate_stride + unit] = bias + product, for sixteen units.
  void (*multiply)(const GatePanel*, int gates, const Row*, int rows, float* out, ptrdiff_t row_stride,
                   ptrdiff_t gate_stride);
  // One step of sixteen units. x and h hold the two products' gates, `x_stride` and `h_stride` floats apart.
  void (*step)(Cell, const float* x, ptrdiff_t x_stride, const float* h, ptrdiff_t h_stride, const float* h_old, float* c,
               float* h_new);
  // GRU with the reset gate before the product: update gate and r * h first, the step when the product is there.
  void (*gru_reset)(const float* x, ptrdiff_t x_stride, const float* h, ptrdiff_t h_stride, const float* h_old,
                    float* update, float* reset_h);
  void (*gru_finish)(const float* x, const float* h, const float* update, const float* h_old, float* h_new);
};

extern const Isa kPortable;
#ifdef RNNEXPORT_X86
extern const Isa kAvx2;
extern const Isa kAvx512Vnni;
#endif

// The best that the CPU and the operating system have, or what RNNEXPORT_KERNELS_ISA names.
const Isa& choose_isa();

}  // namespace rnn
