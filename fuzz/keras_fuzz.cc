// Whole files of Keras: archive, configuration and weights together.

#include "fuzz.h"
#include "grouphead/files/saved_model.h"
#include "temporary.h"

namespace {

void read(const std::uint8_t* data, std::size_t size) {
  namespace gh = grouphead;
  gh::load_compiled_model(gh::fuzz::written("model.keras", gh::fuzz::text_of(data, size)));
}

}  // namespace

GROUPHEAD_FUZZ_TARGET(read(data, size))
