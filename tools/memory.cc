#include "tools/memory.h"

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "grouphead/core/error.h"

namespace grouphead::tools {
namespace {

/// The number behind `name` in a file of lines `name number`.
std::optional<double> number_in(const std::string& file, const std::string& name) {
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    std::string first;
    double number = 0;
    if (words >> first >> number && first == name) return number;
  }
  return {};
}

std::optional<double> of_machine() {
  const auto kilobytes = number_in("/proc/meminfo", "MemAvailable:");
  if (!kilobytes) return {};
  return 1024 * (*kilobytes + number_in("/proc/meminfo", "SwapFree:").value_or(0));
}

/// What the control group (version 2) of a container or a service leaves.
std::optional<double> of_group() {
  std::string group;
  std::ifstream list("/proc/self/cgroup");
  for (std::string line; std::getline(list, line);) {
    if (line.starts_with("0::")) group = line.substr(3);
  }
  for (const std::string& folder : {"/sys/fs/cgroup" + group, std::string("/sys/fs/cgroup")}) {
    double most = 0;
    std::ifstream limit(folder + "/memory.max");
    if (!(limit >> most)) continue;  // "max": none
    return most - number_in(folder + "/memory.stat", "anon").value_or(0);
  }
  return {};
}

std::optional<double> of_process() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return {};
  double pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  return static_cast<double>(limit.rlim_cur) - pages * static_cast<double>(::sysconf(_SC_PAGESIZE));
}

}  // namespace

std::optional<double> available_memory() {
  std::optional<double> least;
  for (const auto& each : {of_machine(), of_group(), of_process()}) {
    if (each && (!least || *each < *least)) least = each;
  }
  return least;
}

std::string bytes_text(double bytes) {
  return bytes < 1e9 ? fmt::format("{:.0f} MB", bytes / 1e6)
                     : fmt::format("{:.1f} GB", bytes / 1e9);
}

TrainingMemory training_memory(const TrainerConfig& config) noexcept {
  const auto width = static_cast<double>(config.hidden_size);
  const auto layers = static_cast<double>(config.num_layers);
  const double shared = static_cast<double>(config.num_key_value_heads) /
                        static_cast<double>(std::max<Index>(config.num_heads, 1));
  const double vocabulary = 256;
  const auto size = static_cast<double>(size_of(config.dtype));
  TrainingMemory memory;
  memory.parameters = 2 * vocabulary * width + layers * (10 + 2 * shared) * width * width;
  // Weights, gradients, two moments, the form that matrix products read.
  memory.weights = 5 * size * memory.parameters;
  // For a byte: what each block keeps for its backward, and the logits with their gradient. Both
  // are below what was measured with f32.
  const double of_block = (17 + 2 * shared) * width;
  memory.step = size * static_cast<double>(config.batch_size) *
                static_cast<double>(config.sequence_length) * (layers * of_block + 3 * vocabulary);
  return memory;
}

void require_memory(const TrainerConfig& config, const TrainingMemory& needed) {
  const std::optional<double> available = available_memory();
  if (!available || needed.total() <= *available) return;
  throw ConfigError(fmt::format(
      "[train] memory: expected a run that fits into the {} that are free, got one of {} or more:\n"
      "  {} for {:.3g} parameters, their gradients and moments (--hidden {}, --layers {})\n"
      "  {} for a step (--batch {} of --seq {})",
      bytes_text(std::max(*available, 0.0)), bytes_text(needed.total()), bytes_text(needed.weights),
      needed.parameters, config.hidden_size, config.num_layers, bytes_text(needed.step),
      config.batch_size, config.sequence_length));
}

}  // namespace grouphead::tools
