// Hugging Face folders in shards: model.safetensors.index.json up to the first zero byte, then the
// shard s.safetensors.

#include <algorithm>

#include "fuzz.h"
#include "saved/huggingface/folder.h"
#include "temporary.h"

namespace {

void read(const std::uint8_t* data, std::size_t size) {
  namespace gh = grouphead;
  const std::string_view all = gh::fuzz::text_of(data, size);
  const std::size_t end = std::min(all.find('\0'), all.size());
  gh::fuzz::written(std::string(gh::saved::kIndexName), all.substr(0, end));
  gh::fuzz::written("s.safetensors", all.substr(std::min(end + 1, all.size())));
  const gh::saved::FolderTensors tensors(gh::fuzz::folder());
  if (tensors.num_elements() < 0) __builtin_trap();
  for (const std::string& name : tensors.names()) {
    if (tensors.find(name)->problem.empty()) gh::fuzz::touch(tensors.read(name));
  }
}

}  // namespace

GROUPHEAD_FUZZ_TARGET(read(data, size))
