#include "run.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <stdexcept>
#include <thread>
#include <vector>

#include "crew.h"

#ifdef __linux__
#include <sched.h>
#endif

namespace rnn {
namespace {

constexpr int kRowsAtOnce = 8;          // so many rows of gates are held before they become states
constexpr int kHoistedRows = 32;        // rows of X that meet W at once
constexpr int kMostHoistedBatch = 16;   // a larger batch reads W seldom enough
constexpr size_t kBytesForThread = 96 << 10;  // of weights in a phase, below which a thread costs more than it brings

int usable_cores() {
  static const int cores = [] {
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
#endif
    return std::max(1, int(std::thread::hardware_concurrency()));
  }();
  return cores;
}

// The activations that a thread has prepared for one matrix of one direction.
struct Rows {
  Row* rows;
  uint8_t* rounded;
  int32_t* sums;
  int64_t phase;  // for which they were prepared
};

struct Member {
  Rows x[2], h[2];  // by direction
  int* active;      // batch rows that are not over yet
  float* x_gates;   // [kRowsAtOnce][gates][kUnits]
  float* h_gates;
};

class Run {
 public:
  Run(const Stack& stack, const Call& call) : stack_(stack), d_(stack.description()), isa_(stack.isa()), call_(call) {
    const bool hoist = call.time_steps > 1 && call.batch_size < kMostHoistedBatch;
    block_steps_ = hoist ? std::min(call.time_steps, (kHoistedRows + call.batch_size - 1) / call.batch_size) : 1;
    columns_ = stack.most_columns();
    members_ = choose_members();
    chunks_ = members_ == 1 ? 1 : std::min({2 * members_, d_.directions * d_.panels(), Crew::kMostChunks});
  }

  size_t bytes() {
    Arena arena{nullptr};
    place(arena);
    return arena.used;
  }

  void execute(unsigned char* memory, const ParallelFor& parallel_for) {
    Arena arena{memory};
    place(arena);
    new (crew_) Crew;
    crew_->start(members_, chunks_);
    load_states();
    if (members_ == 1) {
      work(0);
    } else {
      parallel_for.start(parallel_for.pool, take_part, size_t(members_), this);
      if (!crew_->all_left()) throw std::runtime_error("the thread pool did not run all parts");
    }
    store_states();
  }

 private:
  static void take_part(void* data, size_t) {
    Run* run = static_cast<Run*>(data);
    Crew* crew = run->crew_;
    run->work(crew->arrive());
    crew->leave();
  }

  bool hoisted() const { return block_steps_ > 1; }
  size_t state_size() const { return size_t(call_.batch_size) * d_.padded_hidden(); }
  int length(int row) const { return call_.lengths ? call_.lengths[row] : call_.time_steps; }
  int time(int direction, int row, int step) const {
    return d_.runs_backwards(direction) ? length(row) - 1 - step : step;
  }

  int choose_members() const {
    size_t bytes = 0;
    for (int layer = 0; layer < d_.layers; ++layer) {
      size_t of_layer = 0;
      for (int direction = 0; direction < d_.directions; ++direction) {
        of_layer += stack_.layer(layer).r[direction].bytes + (hoisted() ? 0 : stack_.layer(layer).w[direction].bytes);
      }
      bytes = std::max(bytes, of_layer);
    }
    bytes *= size_t(1 + (call_.batch_size - 1) / 2);
    const int most = std::min({usable_cores(), d_.directions * d_.panels(), Crew::kMostChunks / 2});
    return int(std::min(std::max<size_t>(bytes / kBytesForThread, 1), size_t(most)));
  }

  void place(Arena& arena) {
    const size_t batch = size_t(call_.batch_size);
    crew_ = arena.take<Crew>(1);
    h_ = arena.take<float>(size_t(d_.layers) * d_.directions * 2 * state_size());
    c_ = d_.is_lstm() ? arena.take<float>(size_t(d_.layers) * d_.directions * state_size()) : nullptr;
    const bool reset_before = d_.cell == Cell::kGruResetBefore;
    update_ = reset_before ? arena.take<float>(d_.directions * state_size()) : nullptr;
    reset_h_ = reset_before ? arena.take<float>(d_.directions * state_size()) : nullptr;
    const size_t between = d_.layers == 1 ? 0 : size_t(call_.time_steps) * batch * d_.directions * d_.hidden_size;
    for (float*& outputs : between_) outputs = between ? arena.take<float>(between) : nullptr;
    w_gates_ = hoisted() ? arena.take<float>(d_.directions * size_t(block_steps_) * d_.gates * state_size()) : nullptr;

    member_ = arena.take<Member>(size_t(members_));
    for (int i = 0; i < members_; ++i) {
      Member member{};
      for (int direction = 0; direction < d_.directions; ++direction) {
        member.x[direction] = place_rows(arena, batch * size_t(block_steps_));
        member.h[direction] = place_rows(arena, batch);
      }
      member.active = arena.take<int>(batch);
      member.x_gates = arena.take<float>(size_t(kRowsAtOnce) * d_.gates * kUnits);
      member.h_gates = arena.take<float>(size_t(kRowsAtOnce) * d_.gates * kUnits);
      if (member_) member_[i] = member;
    }
  }

  size_t rounded_bytes() const { return round_up(size_t(columns_), kGroup) / kGroup * kMostPackedBytes; }
  size_t sum_count() const { return 1 + (size_t(columns_) + 31) / 32; }

  Rows place_rows(Arena& arena, size_t count) {
    return {arena.take<Row>(count), arena.take<uint8_t>(count * rounded_bytes()), arena.take<int32_t>(count * sum_count()),
            -1};
  }

  float* h(int layer, int direction, int parity) {
    return h_ + ((size_t(layer) * d_.directions + direction) * 2 + parity) * state_size();
  }
  float* c(int layer, int direction) { return c_ + (size_t(layer) * d_.directions + direction) * state_size(); }

  void load_states() {
    const size_t hidden = size_t(d_.hidden_size), padded = size_t(d_.padded_hidden());
    for (int row = 0; row < d_.layers * d_.directions; ++row) {
      for (int b = 0; b < call_.batch_size; ++b) {
        const size_t from = (size_t(row) * call_.batch_size + b) * hidden;
        load_state(h_ + row * 2 * state_size() + b * padded, call_.initial_h ? call_.initial_h + from : nullptr);
        if (c_) load_state(c_ + row * state_size() + b * padded, call_.initial_c ? call_.initial_c + from : nullptr);
      }
    }
    if (!call_.lengths) return;
    const size_t outputs = size_t(call_.time_steps) * call_.batch_size * d_.directions * hidden;
    if (call_.y) std::memset(call_.y, 0, outputs * sizeof(float));
    for (float* between : between_) {
      if (between) std::memset(between, 0, outputs * sizeof(float));
    }
  }

  void load_state(float* to, const float* from) const {
    const size_t hidden = size_t(d_.hidden_size);
    if (from) std::memcpy(to, from, hidden * sizeof(float));
    std::memset(to + (from ? hidden : 0), 0, (size_t(d_.padded_hidden()) - (from ? hidden : 0)) * sizeof(float));
  }

  void store_states() {
    const size_t hidden = size_t(d_.hidden_size), padded = size_t(d_.padded_hidden());
    for (int row = 0; row < d_.layers * d_.directions; ++row) {
      for (int b = 0; b < call_.batch_size; ++b) {
        const size_t to = (size_t(row) * call_.batch_size + b) * hidden;
        const float* last = h_ + (row * 2 + (length(b) & 1)) * state_size() + b * padded;
        if (call_.last_h) std::memcpy(call_.last_h + to, last, hidden * sizeof(float));
        if (call_.last_c) std::memcpy(call_.last_c + to, c_ + row * state_size() + b * padded, hidden * sizeof(float));
      }
    }
  }

  // What a layer reads at a time step of a row.
  const float* input(int layer, int t, int b) const {
    const size_t columns = size_t(d_.columns(layer));
    if (layer > 0) return between_[(layer - 1) % 2] + (size_t(t) * call_.batch_size + b) * columns;
    return call_.x + (d_.batch_first ? size_t(b) * call_.time_steps + t : size_t(t) * call_.batch_size + b) * columns;
  }

  // Where a layer writes it; null where nobody wants to know.
  float* output(int layer, int direction, int t, int b) const {
    const size_t width = size_t(d_.directions) * d_.hidden_size, place = size_t(direction) * d_.hidden_size;
    const size_t time_first = size_t(t) * call_.batch_size + b, batch_first = size_t(b) * call_.time_steps + t;
    if (layer + 1 < d_.layers) return between_[layer % 2] + time_first * width + place;
    return call_.y ? call_.y + (d_.batch_first ? batch_first : time_first) * width + place : nullptr;
  }

  void prepare(const Matrix& matrix, Rows& rows, int index, const float* values) {
    Row& row = rows.rows[index];
    row.values = values;
    row.rounded = rows.rounded + size_t(index) * rounded_bytes();
    row.sums = rows.sums + size_t(index) * sum_count();
    if (matrix.rounds) isa_.quantize(values, matrix.columns, d_.levels, matrix.block, row);
  }

  // A thread's way through the whole run.
  void work(int member_index) {
    Member& member = member_[member_index];
    int64_t phase = 0;
    const int phases_a_step = d_.cell == Cell::kGruResetBefore ? 2 : 1;
    for (int layer = 0; layer < d_.layers; ++layer) {
      for (int begin = 0; begin < call_.time_steps; begin += block_steps_) {
        const int end = std::min(begin + block_steps_, call_.time_steps);
        if (hoisted()) {
          crew_->phase(phase, member_index, [&](int chunk) {
            each_part(chunk, [&](int direction, int first, int last) {
              hoist(member, phase, layer, direction, begin, end, first, last);
            });
          });
          ++phase;
        }
        for (int step = begin; step < end; ++step) {
          for (int part = 0; part < phases_a_step; ++part, ++phase) {
            crew_->phase(phase, member_index, [&](int chunk) {
              each_part(chunk, [&](int direction, int first, int last) {
                if (phases_a_step == 1) {
                  advance(member, phase, layer, direction, begin, step, first, last);
                } else if (part == 0) {
                  reset(member, phase, layer, direction, begin, step, first, last);
                } else {
                  finish(member, phase, layer, direction, begin, step, first, last);
                }
              });
            });
          }
        }
      }
    }
  }

  // A chunk is a stretch of the panels of all directions.
  template <typename Work>
  void each_part(int chunk, Work work) const {
    const int64_t panels = d_.panels(), all = panels * d_.directions;
    const int64_t begin = chunk * all / chunks_, end = (chunk + 1) * all / chunks_;
    for (int direction = 0; direction < d_.directions; ++direction) {
      const int64_t first = std::max(begin - direction * panels, int64_t(0));
      const int64_t last = std::min(end - direction * panels, panels);
      if (first < last) work(direction, int(first), int(last));
    }
  }

  float* w_gates(int direction, int step_in_block, int b) {
    const size_t row = (size_t(direction) * block_steps_ + step_in_block) * call_.batch_size + b;
    return w_gates_ + row * d_.gates * d_.padded_hidden();
  }

  // W times X of a block of steps.
  void hoist(Member& member, int64_t phase, int layer, int direction, int begin, int end, int first, int last) {
    const Matrix& w = stack_.layer(layer).w[direction];
    Rows& rows = member.x[direction];
    const int count = (end - begin) * call_.batch_size;
    if (rows.phase != phase) {
      rows.phase = phase;
      for (int step = begin, i = 0; step < end; ++step) {
        for (int b = 0; b < call_.batch_size; ++b, ++i) {
          prepare(w, rows, i, input(layer, std::max(time(direction, b, step), 0), b));  // what is over is not used
        }
      }
    }
    const ptrdiff_t stride = ptrdiff_t(d_.gates) * d_.padded_hidden();
    for (int panel = first; panel < last; ++panel) {
      isa_.multiply(&w.panels[size_t(panel) * d_.gates], d_.gates, rows.rows, count,
                    w_gates(direction, 0, 0) + panel * kUnits, stride, d_.padded_hidden());
    }
  }

  int active_rows(Member& member, int step) const {
    int count = 0;
    for (int b = 0; b < call_.batch_size; ++b) {
      if (step < length(b)) member.active[count++] = b;
    }
    return count;
  }

  void prepare_x(Member& member, int64_t phase, int layer, int direction, int step, int active) {
    Rows& rows = member.x[direction];
    if (hoisted() || rows.phase == phase) return;
    rows.phase = phase;
    for (int i = 0; i < active; ++i) {
      const int b = member.active[i];
      prepare(stack_.layer(layer).w[direction], rows, i, input(layer, time(direction, b, step), b));
    }
  }

  void prepare_h(Member& member, int64_t phase, int layer, int direction, const float* states, int active) {
    Rows& rows = member.h[direction];
    if (rows.phase == phase) return;
    rows.phase = phase;
    for (int i = 0; i < active; ++i) {
      prepare(stack_.layer(layer).r[direction], rows, i, states + size_t(member.active[i]) * d_.padded_hidden());
    }
  }

  // The gates [first_gate, last_gate) of a panel for some rows; calls each(row, x gates, their stride, h gates).
  template <typename Each>
  void each_row(Member& member, int layer, int direction, int step_in_block, int panel, int active, int first_gate,
                int last_gate, Each each) {
    const GatePanel* w = &stack_.layer(layer).w[direction].panels[size_t(panel) * d_.gates];
    const GatePanel* r = &stack_.layer(layer).r[direction].panels[size_t(panel) * d_.gates];
    const ptrdiff_t stride = ptrdiff_t(d_.gates) * kUnits;
    for (int begin = 0; begin < active; begin += kRowsAtOnce) {
      const int count = std::min(kRowsAtOnce, active - begin);
      auto multiply = [&](const GatePanel* panels, const Rows& rows, float* out) {
        isa_.multiply(panels + first_gate, last_gate - first_gate, rows.rows + begin, count, out + first_gate * kUnits,
                      stride, kUnits);
      };
      if (!hoisted()) multiply(w, member.x[direction], member.x_gates);
      multiply(r, member.h[direction], member.h_gates);
      for (int i = 0; i < count; ++i) {
        const int b = member.active[begin + i];
        const float* x = hoisted() ? w_gates(direction, step_in_block, b) + panel * kUnits : member.x_gates + i * stride;
        each(b, x, hoisted() ? ptrdiff_t(d_.padded_hidden()) : ptrdiff_t(kUnits), member.h_gates + i * stride);
      }
    }
  }

  void write_output(int layer, int direction, int step, int b, int panel, const float* state) const {
    float* out = output(layer, direction, time(direction, b, step), b);
    const int units = std::min(kUnits, d_.hidden_size - panel * kUnits);
    if (out) std::memcpy(out + panel * kUnits, state, size_t(units) * sizeof(float));
  }

  // One step of the panels [first, last). All rows that are not over have taken equally many steps.
  void advance(Member& member, int64_t phase, int layer, int direction, int begin, int step, int first, int last) {
    const int active = active_rows(member, step);
    const float* old = h(layer, direction, step & 1);
    float* now = h(layer, direction, ~step & 1);
    prepare_x(member, phase, layer, direction, step, active);
    prepare_h(member, phase, layer, direction, old, active);
    for (int panel = first; panel < last; ++panel) {
      each_row(member, layer, direction, step - begin, panel, active, 0, d_.gates,
               [&](int b, const float* x, ptrdiff_t x_stride, const float* r) {
                 const size_t place = size_t(b) * d_.padded_hidden() + panel * kUnits;
                 isa_.step(d_.cell, x, x_stride, r, kUnits, old + place, c_ ? c(layer, direction) + place : nullptr,
                           now + place);
                 write_output(layer, direction, step, b, panel, now + place);
               });
    }
  }

  void reset(Member& member, int64_t phase, int layer, int direction, int begin, int step, int first, int last) {
    const int active = active_rows(member, step);
    const float* old = h(layer, direction, step & 1);
    prepare_x(member, phase, layer, direction, step, active);
    prepare_h(member, phase, layer, direction, old, active);
    for (int panel = first; panel < last; ++panel) {
      each_row(member, layer, direction, step - begin, panel, active, 0, 2,
               [&](int b, const float* x, ptrdiff_t x_stride, const float* r) {
                 const size_t place = size_t(b) * d_.padded_hidden() + panel * kUnits;
                 isa_.gru_reset(x, x_stride, r, kUnits, old + place, update_ + direction * state_size() + place,
                                reset_h_ + direction * state_size() + place);
               });
    }
  }

  void finish(Member& member, int64_t phase, int layer, int direction, int begin, int step, int first, int last) {
    const int active = active_rows(member, step);
    const float* old = h(layer, direction, step & 1);
    float* now = h(layer, direction, ~step & 1);
    prepare_x(member, phase, layer, direction, step, active);
    prepare_h(member, phase, layer, direction, reset_h_ + direction * state_size(), active);
    for (int panel = first; panel < last; ++panel) {
      each_row(member, layer, direction, step - begin, panel, active, 2, 3,
               [&](int b, const float* x, ptrdiff_t x_stride, const float* r) {
                 const size_t place = size_t(b) * d_.padded_hidden() + panel * kUnits;
                 isa_.gru_finish(x + 2 * x_stride, r + 2 * kUnits, update_ + direction * state_size() + place, old + place,
                                 now + place);
                 write_output(layer, direction, step, b, panel, now + place);
               });
    }
  }

  const Stack& stack_;
  const Description& d_;
  const Isa& isa_;
  const Call& call_;
  int block_steps_;
  int columns_;
  int members_;
  int chunks_;
  Crew* crew_ = nullptr;
  float* h_ = nullptr;        // [layers][directions][2][batch][padded hidden]: old and new take turns
  float* c_ = nullptr;        // [layers][directions][batch][padded hidden]
  float* update_ = nullptr;   // [directions][batch][padded hidden]
  float* reset_h_ = nullptr;  // likewise
  float* between_[2] = {};    // [time][batch][directions * hidden]: what one layer gives the next
  float* w_gates_ = nullptr;  // [directions][steps of a block][batch][gates][padded hidden]
  Member* member_ = nullptr;
};

}  // namespace

ScratchCache::~ScratchCache() { delete idle_.load(); }

ScratchCache::Scratch* ScratchCache::take(size_t bytes) {
  std::unique_ptr<Scratch> scratch(idle_.exchange(nullptr, std::memory_order_acq_rel));
  if (!scratch) scratch = std::make_unique<Scratch>();
  if (scratch->bytes < bytes) {
    scratch->memory.reset();
    scratch->bytes = 0;
    scratch->memory = allocate(bytes);
    scratch->bytes = bytes;
  }
  return scratch.release();
}

void ScratchCache::give_back(Scratch* scratch) { delete idle_.exchange(scratch, std::memory_order_acq_rel); }

void run(const Stack& stack, const Call& call, ScratchCache& cache, const ParallelFor& parallel_for) {
  Run run(stack, call);
  ScratchCache::Scratch* scratch = cache.take(run.bytes());
  run.execute(scratch->memory.get(), parallel_for);
  cache.give_back(scratch);
}

}  // namespace rnn
