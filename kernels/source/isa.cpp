#include "isa.h"

#include <cstdlib>
#include <stdexcept>
#include <string>

#ifdef RNNEXPORT_X86
#include <cpuid.h>
#endif

namespace rnn {
namespace {

#ifdef RNNEXPORT_X86
struct Registers {
  unsigned a = 0, b = 0, c = 0, d = 0;
};

Registers ask_cpu(unsigned leaf) {
  Registers r;
  __get_cpuid_count(leaf, 0, &r.a, &r.b, &r.c, &r.d);
  return r;
}

// Whether the operating system saves these registers: without that a CPU's instructions cannot be used.
bool saves(unsigned registers) {
  if (!(ask_cpu(1).c & bit_OSXSAVE)) return false;
  unsigned low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (low & registers) == registers;
}

bool has_avx2() { return saves(0x06) && (ask_cpu(1).c & bit_FMA) && (ask_cpu(7).b & bit_AVX2); }

bool has_avx512vnni() {
#ifdef RNNEXPORT_EMULATE_AVX512
  return true;
#else
  const unsigned needed = bit_AVX512F | bit_AVX512BW | bit_AVX512VL | bit_AVX512DQ;
  return saves(0xe6) && has_avx2() && (ask_cpu(7).b & needed) == needed && (ask_cpu(7).c & bit_AVX512VNNI);
#endif
}
#endif

}  // namespace

const Isa& choose_isa() {
  struct Choice {
    const Isa* isa;
    bool usable;
  };
  static const Choice choices[] = {  // the last that is usable is the best
      {&kPortable, true},
#ifdef RNNEXPORT_X86
      {&kAvx2, has_avx2()},
      {&kAvx512Vnni, has_avx512vnni()},
#endif
  };
  const char* wanted = std::getenv("RNNEXPORT_KERNELS_ISA");
  const Isa* best = nullptr;
  for (const Choice& choice : choices) {
    const bool named = wanted && *wanted && choice.isa->name == std::string(wanted);
    if (named && !choice.usable) {
      throw std::invalid_argument("RNNEXPORT_KERNELS_ISA=" + std::string(wanted) + ": this machine lacks these instructions");
    }
    if (named || (choice.usable && !(wanted && *wanted))) best = choice.isa;
  }
  if (!best) {
    throw std::invalid_argument("RNNEXPORT_KERNELS_ISA=" + std::string(wanted) +
                                ": choose portable, avx2 or avx512vnni");
  }
  return *best;
}

}  // namespace rnn
