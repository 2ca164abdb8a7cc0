#include "tools/hub_folder.h"

#include <algorithm>

#include "saved/huggingface/folder.h"

namespace grouphead::tools {
namespace {

/// `layers.2.` before `layers.10.`: runs of digits by their length first.
bool comes_before(const std::string& a, const std::string& b) {
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  const auto digits = [&](const std::string& text, std::size_t at) {
    while (at < text.size() && is_digit(text[at])) ++at;
    return at;
  };
  std::size_t at = 0;
  while (at < std::min(a.size(), b.size()) && a[at] == b[at]) ++at;
  const std::size_t end_a = digits(a, at);
  const std::size_t end_b = digits(b, at);
  const bool in_number = (end_a > at || (at > 0 && is_digit(a[at - 1]))) &&
                         (end_b > at || (at > 0 && is_digit(b[at - 1])));
  return in_number && end_a != end_b ? end_a < end_b : a < b;
}

}  // namespace

HubFolder read_hub_folder(const std::filesystem::path& folder) {
  HubFolder found;
  const std::filesystem::path file = folder / saved::kConfigName;
  found.config = saved::read_json(file);
  found.family = found.config["model_type"].as_string("model_type");
  try {
    found.model = saved::describe(found.config, file.string()).described.config;
  } catch (const IoError& error) {
    found.problem = error.what();
  }
  const saved::FolderTensors tensors(folder);
  for (const std::string& name : tensors.names()) {
    const io::StoredTensor& stored = *tensors.find(name);
    const Index elements = stored.problem.empty() ? Shape(stored.shape).size() : 0;
    found.tensors.push_back({name, stored.dtype, stored.shape, stored.problem, elements});
    found.elements += elements;
  }
  std::sort(found.tensors.begin(), found.tensors.end(),
            [](const auto& a, const auto& b) { return comes_before(a.name, b.name); });
  return found;
}

}  // namespace grouphead::tools
