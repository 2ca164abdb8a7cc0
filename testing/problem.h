#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "grouphead/core/context.h"
#include "grouphead/core/random.h"

namespace grouphead::testing {

enum class Operation : std::uint8_t {
  attention_forward,
  attention_forward_backward,
  decode,
  gemm,
  layer_gqa_forward,
  layer_gqa_train,
  layer_mha_forward,
  layer_mha_train,
  lm_train,
  lm_generate,
};

/// `attention.fwd`, `attention.fwdbwd`, `decode`, `gemm`, `layer.gqa.fwd`, `layer.gqa.train`,
/// `layer.mha.fwd`, `layer.mha.train`, `lm.train`, `lm.generate`.
std::string_view name_of(Operation operation) noexcept;

/// Where a decode problem's cache has its tiles.
enum class CacheForm : std::uint8_t { contiguous, ring, paged };

/// Which mask tensor an attention problem has.
enum class MaskKind : std::uint8_t { none, blocks, keys };

/// One thing to check or to measure, in words: operation, dtype, then words in any order, as in
/// `attention.fwd f32 b1 t1024 s1024 hq32 hkv8 d64 dv64 causal offset=0 thr=2 isa=avx3 seed=1`.
/// Sizes are 0 where the operation has no such word. Of lm.train and lm.generate, which have a size
/// f, `f32` and `f64` are the dtype right behind the operation and the size elsewhere.
///
/// attention.fwd, attention.fwdbwd   t hq d [b s hkv dv causal offset= window= mask=bool|key bias
///                                   dropout= rng=philox|threefry softcap= alibi sinks lengths
///                                   packed=]: bias is [1, Hq, T, S]; masks and lengths are drawn
///                                   by the seed; packed= sequences of one length
/// decode                            s hq d [b hkv dv cache=f32|bf16|int8
/// form=contiguous|ring|paged
///                                   window= lengths]: one query against s cached positions, or
///                                   the last of them in a window, which a ring wants; blocks of
///                                   several sequences take turns in a paged cache
/// gemm                              m n k [weights=f32|bf16|int8]: with weights= the second
///                                   operand is packed before, as a layer's
/// layer.gqa.fwd, layer.gqa.train    t m hq d [b s hkv causal]: GroupQueryAttention of x [B, T, M],
///                                   where s differs from t with values [B, S, M]; train is
///                                   forward and backward to inputs and parameters
/// layer.mha.fwd, layer.mha.train    the same without hkv: MultiHeadAttention
/// lm.train                          [b t m f l hq hkv v]: t positions of context, defaults are
///                                   the byte-level language model
/// lm.generate                       the same [weights=]; s positions of prompt, then t tokens one
///                                   by one
/// all                               [dtype thr= isa= seed=]; thr=0: one per core; dtype is f32 or
///                                   f64, of attention also bf16; of layers bf16 is the policy
///                                   mixed_bfloat16
struct Problem {
  Operation operation = Operation::gemm;
  Dtype dtype = Dtype::f32;
  Index B = 0, T = 0, S = 0, Hq = 0, Hkv = 0, D = 0, Dv = 0;
  Index M = 0, N = 0, K = 0;  ///< layers and lm: M is the width of the inputs
  Index F = 0, L = 0, V = 0;
  bool causal = false;
  Index causal_offset = 0;
  Index window = 0;
  MaskKind mask = MaskKind::none;
  bool bias = false;
  double dropout_rate = 0;
  double softcap = 0;
  bool alibi = false;
  bool sinks = false;
  bool lengths = false;
  Index packed = 0;
  Dtype cache = Dtype::f32;  ///< what decode reads: dtype, bf16, or u8 for int8
  CacheForm form = CacheForm::contiguous;
  std::optional<Dtype> weights{};  ///< what products read: dtype, bf16, or u8 for int8
  RandomAlgorithm rng = RandomAlgorithm::philox;
  Index num_threads = 0;
  std::optional<Isa> isa{};
  Index seed = 1;

  friend bool operator==(const Problem&, const Problem&) = default;
};

/// Errors: ConfigError that lists the known operations or words.
Problem parse_problem(std::string_view text);

/// Whether a problem may start with this word.
bool is_operation(std::string_view word) noexcept;

/// The canonical string: every size, then what differs from the default. parse_problem() of it
/// gives the same problem.
std::string to_string(const Problem& problem);

ContextOptions context_options(const Problem& problem);

/// Useful work, a multiply-add counting 2; attention counts what is visible. Attention's
/// backward has five products where the forward has two, a projection's two where it has one.
double count_flops(const Problem& problem);

/// Bytes of keys and values that one run of decode reads, scales included.
double cache_bytes(const Problem& problem);

/// Bytes of packed weights [depth, columns], scales included.
double weight_bytes(const Problem& problem, Index depth, Index columns);

/// Tokens that one run of an lm problem handles; 0 for other operations.
Index count_tokens(const Problem& problem);

}  // namespace grouphead::testing
