#pragma once

#include <filesystem>
#include <map>
#include <string>

namespace grouphead::saved {

/// What a Hugging Face folder has beside its model: the tokenizer, generation_config.json, modules
/// of sentence-transformers. Small files of text by their paths in the folder; config.json, indexes
/// of shards, weights and everything else are left out. Errors: IoError.
std::map<std::string, std::string> read_companions(const std::filesystem::path& folder);

/// Writes them into another folder; what is there under these names is replaced. Errors: IoError.
void write_companions(const std::map<std::string, std::string>& files,
                      const std::filesystem::path& folder);

}  // namespace grouphead::saved
