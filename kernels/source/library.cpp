// The door to ONNX Runtime: registers rnnexport::RecurrentStack, makes its kernels and runs them.
#include <algorithm>
#include <cstring>
#include <exception>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "onnxruntime_abi.h"
#include "run.h"
#include "stack.h"

namespace {

using ort::Api;
using ort::CustomOperator;
using ort::KernelContext;
using ort::KernelInfo;
using ort::Status;

enum Input : size_t { kX, kWeights, kScales, kBias, kLengths, kInitialH, kInitialC, kInputs };
enum Output : size_t { kY, kLastH, kLastC, kOutputs };

constexpr int64_t kVersion = 1;  // of the operator's description in README.md

const char* const kInputNames[kInputs] = {"X", "weights", "scales", "B", "sequence_lens", "initial_h", "initial_c"};

// What went wrong inside ONNX Runtime, on its way back to it.
struct Failure {
  Status* status;
};

void check(Status* status) {
  if (status) throw Failure{status};
}

// Runs the body, and turns what it throws into a status.
template <typename Body>
Status* guarded(const Api& api, ort::ErrorCode code, const std::string& where, Body body) noexcept {
  try {
    body();
    return nullptr;
  } catch (const Failure& failure) {
    return failure.status;
  } catch (const std::bad_alloc&) {
    return api.create_status()(code, "rnnexport::RecurrentStack: not enough memory");
  } catch (const std::exception& error) {
    return api.create_status()(code, ("rnnexport::RecurrentStack" + where + ": " + error.what()).c_str());
  }
}

class Info {
 public:
  Info(const Api& api, const KernelInfo* info) : api_(api), info_(info) {
    size_t count = 0;
    check(api.node_input_count()(info, &count));
    for (size_t i = 0; i < count; ++i) {
      names_.push_back(read([&](char* to, size_t* size) { return api.node_input_name()(info, i, to, size); }));
    }
  }

  std::string node() const {
    return read([&](char* to, size_t* size) { return api_.node_name()(info_, to, size); });
  }

  bool has_input(size_t index) const { return index < names_.size() && !names_[index].empty(); }

  std::string text(const char* name, const char* otherwise) const {
    try {
      return read([&](char* to, size_t* size) { return api_.attribute_string()(info_, name, to, size); });
    } catch (const Failure& failure) {
      api_.release_status()(failure.status);
    }
    if (!otherwise) throw std::invalid_argument(std::string("the attribute ") + name + " is missing or no string");
    return otherwise;
  }

  int64_t integer(const char* name, const int64_t* otherwise) const {
    int64_t value = 0;
    if (Status* status = api_.attribute_int()(info_, name, &value)) {
      api_.release_status()(status);
      if (!otherwise) throw std::invalid_argument(std::string("the attribute ") + name + " is missing or no integer");
      value = *otherwise;
    }
    return value;
  }

  std::vector<int64_t> integers(const char* name) const {
    size_t size = 0;
    std::vector<int64_t> values;
    Status* status = api_.attribute_ints()(info_, name, nullptr, &size);
    if (!status) {
      values.resize(size);
      status = api_.attribute_ints()(info_, name, values.data(), &size);
    }
    if (status) {
      api_.release_status()(status);
      throw std::invalid_argument(std::string("the attribute ") + name + " is missing or no list of integers");
    }
    return values;
  }

  // The data and the shape of an input that must be constant; null where it is left out.
  const void* constant(Input index, ort::ElementType type, std::vector<int64_t>& shape) const;

 private:
  template <typename Get>
  static std::string read(Get get) {
    size_t size = 0;
    check(get(nullptr, &size));
    std::string value(size, '\0');
    check(get(value.data(), &size));
    value.resize(size ? size - 1 : 0);  // without the final zero
    return value;
  }

  const Api& api_;
  const KernelInfo* info_;
  std::vector<std::string> names_;
};

struct Tensor {
  const void* data = nullptr;
  ort::ElementType type{};
  int64_t shape[8] = {};
  size_t rank = 0;
};

Tensor look_at(const Api& api, const ort::Value* value) {
  ort::Shape* shape = nullptr;
  check(api.shape_of()(value, &shape));
  Tensor tensor;
  Status* status = api.element_type()(shape, &tensor.type);
  if (!status) status = api.rank()(shape, &tensor.rank);
  if (!status && tensor.rank <= 8) status = api.dimensions()(shape, tensor.shape, tensor.rank);
  api.release_shape()(shape);
  check(status);
  void* data = nullptr;
  check(api.tensor_data()(const_cast<ort::Value*>(value), &data));
  tensor.data = data;
  return tensor;
}

std::string written(const int64_t* shape, size_t rank) {
  std::string text = "[";
  for (size_t i = 0; i < rank; ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

void expect_shape(const char* name, const Tensor& tensor, std::initializer_list<int64_t> expected) {
  if (tensor.rank == expected.size() && std::equal(expected.begin(), expected.end(), tensor.shape)) return;
  const std::vector<int64_t> wanted(expected);
  throw std::invalid_argument(std::string(name) + " has the shape " + written(tensor.shape, std::min<size_t>(tensor.rank, 8)) +
                              ": give " + written(wanted.data(), wanted.size()));
}

const void* Info::constant(Input index, ort::ElementType type, std::vector<int64_t>& shape) const {
  if (!has_input(index)) return nullptr;
  int is_constant = 0;
  const ort::Value* value = nullptr;
  check(api_.constant_input()(info_, index, &is_constant, &value));
  if (!is_constant || !value) {
    throw std::invalid_argument(std::string(kInputNames[index]) + " is no constant: make it an initializer of the graph");
  }
  const Tensor tensor = look_at(api_, value);
  if (tensor.type != type) throw std::invalid_argument(std::string(kInputNames[index]) + " has the wrong type");
  if (tensor.rank > 8) throw std::invalid_argument(std::string(kInputNames[index]) + " has too many dimensions");
  shape.assign(tensor.shape, tensor.shape + tensor.rank);
  return tensor.data;
}

class Kernel {
 public:
  Kernel(const Api& api, const Info& info) : api_(api), where_(described(info.node())), stack_(read(info)) {}

  const Api& api() const { return api_; }
  const std::string& where() const { return where_; }

  static std::string described(const std::string& node) { return node.empty() ? "" : " '" + node + "'"; }

  void compute(KernelContext* context);

 private:
  static rnn::Stack read(const Info& info) {
    const int64_t none = 0, block_size = 32, activation_bits = 12, first = kVersion;
    const int64_t version = info.integer("version", &first);
    if (version != kVersion) {
      throw std::invalid_argument("version = " + std::to_string(version) + ": this library knows " +
                                  std::to_string(kVersion) + "; install another rnnexport-kernels");
    }
    const rnn::Description d =
        rnn::describe(info.text("cell", nullptr), info.text("direction", "forward"),
                      info.integer("linear_before_reset", &none), info.integer("layout", &none),
                      info.integer("num_layers", nullptr), info.integer("input_size", nullptr),
                      info.integer("hidden_size", nullptr), info.integers("weight_bits"),
                      info.integer("block_size", &block_size), info.integer("activation_bits", &activation_bits));
    if (!d.is_lstm() && info.has_input(kInitialC)) throw std::invalid_argument("initial_c is for lstm only");
    rnn::Constants constants{};
    std::vector<int64_t> weights, scales, bias;
    constants.weights = static_cast<const uint8_t*>(info.constant(kWeights, ort::kUint8, weights));
    if (weights.size() != 1) throw std::invalid_argument("weights must have one dimension");
    constants.weight_count = size_t(weights[0]);
    constants.scales = static_cast<const float*>(info.constant(kScales, ort::kFloat, scales));
    if (constants.scales && scales.size() != 1) throw std::invalid_argument("scales must have one dimension");
    constants.scale_count = scales.empty() ? 0 : size_t(scales[0]);
    constants.bias = static_cast<const float*>(info.constant(kBias, ort::kFloat, bias));
    const std::vector<int64_t> expected = {int64_t(d.layers) * d.directions, int64_t(2) * d.gates * d.hidden_size};
    if (info.has_input(kBias) && bias != expected) {
      throw std::invalid_argument("B has the shape " + written(bias.data(), bias.size()) + ": give " +
                                  written(expected.data(), expected.size()));
    }
    return rnn::Stack(d, constants, rnn::choose_isa());
  }

  const Api& api_;
  std::string where_;
  rnn::Stack stack_;
  rnn::ScratchCache scratch_;
};

struct Pool {
  const Api* api;
  const KernelContext* context;
  Status* status = nullptr;
};

void Kernel::compute(KernelContext* context) {
  const rnn::Description& d = stack_.description();
  size_t inputs = 0, outputs = 0;
  check(api_.input_count()(context, &inputs));
  check(api_.output_count()(context, &outputs));
  auto input = [&](Input index, Tensor& tensor) {
    const ort::Value* value = nullptr;
    if (index < inputs) check(api_.input()(context, index, &value));
    if (value) tensor = look_at(api_, value);
    return value != nullptr;
  };

  Tensor x, lengths, initial_h, initial_c;
  input(kX, x);
  if (x.rank != 3) throw std::invalid_argument("X has " + std::to_string(x.rank) + " dimensions: give 3");
  const int64_t time_steps = x.shape[d.batch_first ? 1 : 0], batch_size = x.shape[d.batch_first ? 0 : 1];
  if (time_steps < 1) throw std::invalid_argument("X has no time step");
  if (time_steps > INT32_MAX / 2 || batch_size > INT32_MAX / 2) throw std::invalid_argument("X is too large");
  expect_shape("X", x, {x.shape[0], x.shape[1], d.input_size});
  if (input(kLengths, lengths)) expect_shape("sequence_lens", lengths, {batch_size});
  const int64_t states[3] = {int64_t(d.layers) * d.directions, batch_size, d.hidden_size};
  if (input(kInitialH, initial_h)) expect_shape("initial_h", initial_h, {states[0], states[1], states[2]});
  if (input(kInitialC, initial_c)) expect_shape("initial_c", initial_c, {states[0], states[1], states[2]});

  rnn::Call call{};
  call.time_steps = int(time_steps);
  call.batch_size = int(batch_size);
  call.x = static_cast<const float*>(x.data);
  call.lengths = static_cast<const int32_t*>(lengths.data);
  call.initial_h = static_cast<const float*>(initial_h.data);
  call.initial_c = static_cast<const float*>(initial_c.data);
  for (int64_t b = 0; call.lengths && b < batch_size; ++b) {
    if (call.lengths[b] < 0 || call.lengths[b] > time_steps) {
      throw std::invalid_argument("sequence_lens holds " + std::to_string(call.lengths[b]) + ": choose 0 to " +
                                  std::to_string(time_steps));
    }
  }

  auto output = [&](Output index, const int64_t* shape) -> float* {
    ort::Value* value = nullptr;
    if (index < outputs) check(api_.output()(context, index, shape, 3, &value));
    void* data = nullptr;
    if (value) check(api_.tensor_data()(value, &data));
    return static_cast<float*>(data);
  };
  const int64_t y[3] = {x.shape[0], x.shape[1], int64_t(d.directions) * d.hidden_size};
  call.y = output(kY, y);
  call.last_h = output(kLastH, states);
  if (d.is_lstm()) call.last_c = output(kLastC, states);
  if (batch_size == 0) return;

  Pool pool{&api_, context};
  const rnn::ParallelFor parallel_for = {
      [](const void* of, void (*function)(void*, size_t), size_t count, void* data) {
        Pool* pool = static_cast<Pool*>(const_cast<void*>(of));
        pool->status = pool->api->parallel_for()(pool->context, function, count, count, data);
      },
      &pool};
  rnn::run(stack_, call, scratch_, parallel_for);
  check(pool.status);
}

// A kernel that could not be made is described by this status, not by what ONNX Runtime finds in a null pointer.
Status* create(const CustomOperator*, const Api* api, const KernelInfo* info, void** kernel) {
  std::string where;
  *kernel = nullptr;
  return guarded(*api, ort::kInvalidGraph, where, [&] {
    const Info node(*api, info);
    where = Kernel::described(node.node());
    *kernel = new Kernel(*api, node);
  });
}

Status* compute(void* kernel, KernelContext* context) {
  Kernel& self = *static_cast<Kernel*>(kernel);
  return guarded(self.api(), ort::kInvalidArgument, self.where(), [&] { self.compute(context); });
}

CustomOperator recurrent_stack() {
  CustomOperator op;
  op.name = [](const CustomOperator*) { return "RecurrentStack"; };
  op.execution_provider = [](const CustomOperator*) { return "CPUExecutionProvider"; };
  op.input_type = [](const CustomOperator*, size_t index) {
    return index == kWeights ? ort::kUint8 : index == kLengths ? ort::kInt32 : ort::kFloat;
  };
  op.input_type_count = [](const CustomOperator*) { return size_t(kInputs); };
  op.output_type = [](const CustomOperator*, size_t) { return ort::kFloat; };
  op.output_type_count = [](const CustomOperator*) { return size_t(kOutputs); };
  op.input_presence = [](const CustomOperator*, size_t index) {
    return index == kX || index == kWeights ? ort::kRequired : ort::kOptional;
  };
  op.output_presence = [](const CustomOperator*, size_t index) { return index == kY ? ort::kRequired : ort::kOptional; };
  op.input_memory = [](const CustomOperator*, size_t) { return 0; };
  op.destroy = [](void* kernel) { delete static_cast<Kernel*>(kernel); };
  op.create = create;
  op.compute = compute;
  op.start_version = [](const CustomOperator*) { return 1; };
  op.end_version = [](const CustomOperator*) { return 1; };
  return op;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) Status* RegisterCustomOps(ort::SessionOptions* options,
                                                                          const ort::ApiBase* base) {
  static const CustomOperator op = recurrent_stack();
  const Api* api = base->get_api(ort::kApiVersion);
  if (!api) return nullptr;  // an ONNX Runtime before 1.18, which will not know the operator
  // A domain lives as long as the process: sessions refer to it, and nothing says when the last of them is gone.
  static ort::Domain* domain = nullptr;
  static Status* status = [&] {
    Status* failed = api->create_domain()("rnnexport", &domain);
    return failed ? failed : api->domain_add()(domain, &op);
  }();
  return status ? status : api->add_domain()(options, domain);
}
