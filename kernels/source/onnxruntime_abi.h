// What this library uses of ONNX Runtime's C interface, whose functions keep their places for good.
// The places are those of the struct OrtApi in onnxruntime_c_api.h; tests/kernels/test_abi.py calls each.
#pragma once
#include <cstddef>
#include <cstdint>

namespace ort {

struct Status;
struct SessionOptions;
struct Domain;
struct KernelInfo;
struct KernelContext;
struct Value;
struct Shape;
struct CustomOperator;

constexpr uint32_t kApiVersion = 18;  // what onnxruntime 1.18 introduced

enum ErrorCode : int { kInvalidArgument = 2, kInvalidGraph = 10 };
enum ElementType : int { kFloat = 1, kUint8 = 2, kInt32 = 6 };
enum Presence : int { kRequired = 0, kOptional = 1 };

// A table of function pointers; each accessor names a place and the function's type.
struct Api {
  template <typename Function>
  Function at(size_t place) const {
    return reinterpret_cast<Function>(reinterpret_cast<void* const*>(this)[place]);
  }
  auto create_status() const { return at<Status* (*)(ErrorCode, const char*)>(0); }
  auto create_domain() const { return at<Status* (*)(const char*, Domain**)>(26); }
  auto domain_add() const { return at<Status* (*)(Domain*, const CustomOperator*)>(27); }
  auto add_domain() const { return at<Status* (*)(SessionOptions*, Domain*)>(28); }
  auto tensor_data() const { return at<Status* (*)(Value*, void**)>(51); }
  auto element_type() const { return at<Status* (*)(const Shape*, ElementType*)>(60); }
  auto rank() const { return at<Status* (*)(const Shape*, size_t*)>(61); }
  auto dimensions() const { return at<Status* (*)(const Shape*, int64_t*, size_t)>(62); }
  auto shape_of() const { return at<Status* (*)(const Value*, Shape**)>(65); }
  auto attribute_int() const { return at<Status* (*)(const KernelInfo*, const char*, int64_t*)>(86); }
  auto attribute_string() const { return at<Status* (*)(const KernelInfo*, const char*, char*, size_t*)>(87); }
  auto input_count() const { return at<Status* (*)(const KernelContext*, size_t*)>(88); }
  auto output_count() const { return at<Status* (*)(const KernelContext*, size_t*)>(89); }
  auto input() const { return at<Status* (*)(const KernelContext*, size_t, const Value**)>(90); }
  auto output() const { return at<Status* (*)(KernelContext*, size_t, const int64_t*, size_t, Value**)>(91); }
  auto release_status() const { return at<void (*)(Status*)>(93); }
  auto release_shape() const { return at<void (*)(Shape*)>(99); }
  auto attribute_ints() const { return at<Status* (*)(const KernelInfo*, const char*, int64_t*, size_t*)>(163); }
  auto node_input_count() const { return at<Status* (*)(const KernelInfo*, size_t*)>(230); }
  auto node_input_name() const { return at<Status* (*)(const KernelInfo*, size_t, char*, size_t*)>(232); }
  auto node_name() const { return at<Status* (*)(const KernelInfo*, char*, size_t*)>(244); }
  auto constant_input() const { return at<Status* (*)(const KernelInfo*, size_t, int*, const Value**)>(249); }
  auto parallel_for() const {
    return at<Status* (*)(const KernelContext*, void (*)(void*, size_t), size_t, size_t, void*)>(274);
  }
};

struct ApiBase {
  const Api* (*get_api)(uint32_t version);
  const char* (*version)();
};

// OrtCustomOp as of version 18: what an operator takes and gives, and how its kernels are made and run.
struct CustomOperator {
  uint32_t version = kApiVersion;
  void* (*create_kernel)(const CustomOperator*, const Api*, const KernelInfo*) = nullptr;
  const char* (*name)(const CustomOperator*) = nullptr;
  const char* (*execution_provider)(const CustomOperator*) = nullptr;
  ElementType (*input_type)(const CustomOperator*, size_t) = nullptr;
  size_t (*input_type_count)(const CustomOperator*) = nullptr;
  ElementType (*output_type)(const CustomOperator*, size_t) = nullptr;
  size_t (*output_type_count)(const CustomOperator*) = nullptr;
  void (*compute_unchecked)(void*, KernelContext*) = nullptr;
  void (*destroy)(void*) = nullptr;
  Presence (*input_presence)(const CustomOperator*, size_t) = nullptr;
  Presence (*output_presence)(const CustomOperator*, size_t) = nullptr;
  int (*input_memory)(const CustomOperator*, size_t) = nullptr;
  int (*variadic_input_least)(const CustomOperator*) = nullptr;
  int (*variadic_input_alike)(const CustomOperator*) = nullptr;
  int (*variadic_output_least)(const CustomOperator*) = nullptr;
  int (*variadic_output_alike)(const CustomOperator*) = nullptr;
  Status* (*create)(const CustomOperator*, const Api*, const KernelInfo*, void**) = nullptr;
  Status* (*compute)(void*, KernelContext*) = nullptr;
  Status* (*infer_shapes)(const CustomOperator*, void*) = nullptr;
  int (*start_version)(const CustomOperator*) = nullptr;
  int (*end_version)(const CustomOperator*) = nullptr;
  size_t (*may_inplace)(int**, int**) = nullptr;
  void (*release_may_inplace)(int*, int*) = nullptr;
  size_t (*alias_map)(int**, int**) = nullptr;
  void (*release_alias_map)(int*, int*) = nullptr;
};

}  // namespace ort
