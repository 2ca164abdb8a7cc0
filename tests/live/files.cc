// What tests/live/files.py asks of the library: training that goes on from a file, and weights from
// one form to another.

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <span>
#include <string>

#include "grouphead/grouphead.h"
#include "io/safetensors.h"

namespace {

namespace gh = grouphead;

// IN.keras DATA STEPS OUT.keras: trains on the whole of x... and y..., prints each loss.
void train(std::span<const std::string> arguments) {
  gh::Context ctx;
  gh::TrainableModel loaded = gh::load_compiled_model(arguments[0]);
  const auto data = gh::io::read_safetensors(arguments[1]);
  gh::Data batch;
  for (const auto& [name, tensor] : data.tensors) {
    (name[0] == 'x' ? batch.x : batch.y).push_back(tensor);
  }
  for (int step = 0; step < std::atoi(arguments[2].c_str()); ++step) {
    std::printf("%.9g\n", loaded.compiled->train_on_batch(ctx, batch));
  }
  gh::save_model(*loaded.compiled, arguments[3]);
}

// MODEL.keras WEIGHTS OUT: the model's weights replaced by those of a file, then saved.
void weights(std::span<const std::string> arguments) {
  const auto model = gh::load_model(arguments[0]);
  gh::load_weights(*model, arguments[1]);
  gh::save_weights(*model, arguments[2], {.largest_shard = 2048});
}

// MODEL OUT.keras
void convert(std::span<const std::string> arguments) {
  gh::save_model(*gh::load_model(arguments[0]), arguments[1]);
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  struct Verb {
    const char* name;
    std::size_t num_arguments;
    void (*run)(std::span<const std::string>);
  };
  constexpr Verb kVerbs[] = {{"train", 4, train}, {"weights", 3, weights}, {"convert", 2, convert}};
  try {
    for (const Verb& verb : kVerbs) {
      if (arguments.size() == verb.num_arguments + 1 && arguments[0] == verb.name) {
        verb.run(std::span(arguments).subspan(1));
        return 0;
      }
    }
    std::fprintf(stderr,
                 "usage: train IN DATA STEPS OUT | weights MODEL IN OUT | convert IN OUT\n");
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
  }
  return 2;
}
