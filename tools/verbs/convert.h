#pragma once

#include <functional>
#include <string>

#include "grouphead/models/conversion.h"
#include "tools/verbs.h"

namespace grouphead::tools {

/// What the command line of `convert` says.
struct ConvertOptions {
  std::string source;
  std::string target;
  Index num_key_value_heads = 0;  // 0: as they are
  std::string pool = "mean";
  std::string inputs;
  bool overwrite = false;
  std::string quantize;    // empty: not
  Index block_size = -1;   // of int4; 0: none, -1: Keras's
  bool allow_own = false;  // write what Keras cannot load
};

constexpr Index kLongestSequence = 1024;  // that errors are measured on

HeadConversion conversion_of(const ConvertOptions& options, const Globals& globals);

void notice(const std::string& text);

/// The table of what measure() finds. The converted model is written already, whatever happens.
void report_of(const std::function<ConversionReport()>& measure, const ConvertOptions& options,
               const Globals& globals);

/// A Hugging Face folder with fewer key/value heads as another one.
void convert_pretrained(const ConvertOptions& options, const Globals& globals);

}  // namespace grouphead::tools
