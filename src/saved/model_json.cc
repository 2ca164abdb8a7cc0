#include "grouphead/files/model_json.h"

#include "io/json.h"

namespace grouphead {

std::string to_json(const Model& model, int indent) {
  return io::json_text(model_to_config(model), indent);
}

std::shared_ptr<Model> model_from_json(std::string_view text, std::uint64_t seed) {
  return model_from_config(io::parse_json(text, "model", io::JsonLimits::of_file(text.size())),
                           seed);
}

}  // namespace grouphead
