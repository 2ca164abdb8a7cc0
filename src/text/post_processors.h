#pragma once

// Special tokens around a text or a pair of texts, truncation and padding.

#include <memory>
#include <optional>
#include <vector>

#include "grouphead/core/config_value.h"
#include "grouphead/text/tokenizer.h"

namespace grouphead::text {

/// Adds special tokens: parts that follow one another in, the same out.
class PostProcessor {
 public:
  virtual ~PostProcessor() = default;
  virtual void run(std::vector<Encoding>& parts, bool add_special_tokens) const = 0;
  /// Special tokens that a text, or a pair, gets.
  virtual std::size_t num_added(bool is_pair) const = 0;
};

/// Null gives null. Errors: IoError for a type that is not known, and for settings without sense.
std::unique_ptr<PostProcessor> post_processor_from(const ConfigValue& config);

struct Truncation {
  enum class Strategy { longest_first, only_first, only_second };

  std::size_t max_length = 0;
  Strategy strategy = Strategy::longest_first;
  bool keeps_end = false;
};

struct Padding {
  std::optional<std::size_t> length{};  ///< absent: of the longest of a batch
  std::size_t multiple = 0;             ///< 0: any length
  bool at_start = false;
  std::int32_t id = 0;
  std::int32_t type_id = 0;
};

/// Null gives none. Errors: IoError.
std::optional<Truncation> truncation_from(const ConfigValue& config);
std::optional<Padding> padding_from(const ConfigValue& config);

/// Shortens one or two parts to `max_length` together. Errors: IoError where the part that is to
/// become shorter is not there, or not long enough.
void truncate(std::vector<Encoding>& parts, const Truncation& how);
/// Pads all to one length.
void pad(std::span<Encoding> batch, const Padding& how);

/// One after another.
Encoding joined(std::vector<Encoding> parts);

}  // namespace grouphead::text
