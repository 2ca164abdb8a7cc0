#include "grouphead/files/classes.h"

#include "core/check.h"
#include "graph/defined_layer.h"
#include "io/file.h"
#include "io/json.h"

namespace grouphead {

void register_class(const std::string& name, const ConfigValue& definition) {
  const auto held =
      std::make_shared<const graph::LayerDefinition>(graph::layer_definition(name, definition));
  nn::define_layer(name, [held](const ConfigValue& config) -> std::shared_ptr<Layer> {
    return std::make_shared<graph::DefinedLayer>(held, config);
  });
}

void register_classes(const std::filesystem::path& file) {
  const ConfigValue classes = io::parse_json(io::read_file(file), file.string());
  if (!classes.is_object()) {
    throw IoError("[classes] " + file.string() + ": expected an object of classes, got " +
                  classes.to_string());
  }
  for (const auto& [name, definition] : classes.as_object("classes")) {
    register_class(name, definition);
  }
}

}  // namespace grouphead
