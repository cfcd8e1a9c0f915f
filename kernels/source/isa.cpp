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
// The registers that the operating system saves: without that a CPU's instructions cannot be used.
uint64_t saved_registers() {
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE)) return 0;
  __asm__("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
  return uint64_t(d) << 32 | a;
}

bool has_avx2() {
  unsigned a, b, c, d;
  if ((saved_registers() & 0x6) != 0x6) return false;
  __get_cpuid(1, &a, &b, &c, &d);
  if (!(c & bit_FMA)) return false;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_AVX2);
}

bool has_avx512vnni() {
#ifdef RNNEXPORT_EMULATE_AVX512
  return true;
#else
  unsigned a, b, c, d;
  if ((saved_registers() & 0xe6) != 0xe6 || !has_avx2()) return false;
  __get_cpuid_count(7, 0, &a, &b, &c, &d);
  return (b & bit_AVX512F) && (b & bit_AVX512BW) && (b & bit_AVX512VL) && (b & bit_AVX512DQ) && (c & bit_AVX512VNNI);
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
