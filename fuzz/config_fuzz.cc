// Models from JSON texts. Parameters are limited as where a file's arrays must fill them.

#include "fuzz.h"
#include "grouphead/models/model.h"
#include "io/json.h"
#include "nn/loading_scope.h"

namespace {

constexpr grouphead::Index kMostElements = 1 << 16;

void read(const std::uint8_t* data, std::size_t size) {
  namespace gh = grouphead;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const gh::ConfigValue config = gh::io::parse_json(text, "text");
  // What was read is written and read again. NaN, which Keras's texts may have, equals nothing;
  // then the texts must be the same.
  const std::string written = gh::io::json_text(config);
  const gh::ConfigValue again = gh::io::parse_json(written, "text");
  const bool has_nan = written.find("NaN") != std::string::npos;
  if (has_nan ? gh::io::json_text(again) != written : !(again == config)) __builtin_trap();
  const gh::nn::LoadingScope scope(kMostElements);
  gh::model_to_config(*gh::model_from_config(config));
}

}  // namespace

GROUPHEAD_FUZZ_TARGET(read(data, size))
