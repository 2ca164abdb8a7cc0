// Loads a Keras model once and answers requests from several threads.
//   load_and_predict [model.keras]

#include <grouphead/grouphead.h>

#include <atomic>
#include <cstdio>
#include <exception>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace gh = grouphead;

namespace {

/// A model file, if there is none at hand.
std::string example_model() {
  const gh::Symbol x = gh::input({.shape = {16, 32}, .name = "x"});
  const gh::Symbol a = gh::layer<gh::GroupQueryAttention>(
      {.head_dim = 8, .num_query_heads = 4, .num_key_value_heads = 2})({x, x});
  const gh::Symbol y = gh::layer<gh::Dense>({.units = 3, .activation = "softmax"})(
      gh::layer<gh::GlobalAveragePooling1D>({})(a));
  gh::save_model(gh::Model({.inputs = {x}, .outputs = {y}}), "example.keras");
  return "example.keras";
}

}  // namespace

int main(int argc, char** argv) try {
  const std::shared_ptr<const gh::Model> model =
      gh::load_model(argc > 1 ? argv[1] : example_model());
  std::printf("%s", model->summary().c_str());

  // Requests wait in a list; each worker takes the next one. The model is shared: calls of a const
  // model may run at the same time, each with a Context of its own.
  std::vector<std::vector<gh::Tensor>> requests;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    requests.push_back(gh::random_inputs(*model, seed));
  }
  std::vector<gh::Tensor> answers(requests.size());
  std::atomic<std::size_t> next = 0;
  std::vector<std::thread> workers;
  for (int i = 0; i < 2; ++i) {
    workers.emplace_back([&] {
      gh::Context ctx({.num_threads = 1});
      for (std::size_t at = next++; at < requests.size(); at = next++) {
        answers[at] = (*model)(ctx, requests[at])[0];
      }
    });
  }
  for (std::thread& worker : workers) worker.join();

  std::printf("%zu answers of shape %s\n", answers.size(), answers[0].shape().to_string().c_str());
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
