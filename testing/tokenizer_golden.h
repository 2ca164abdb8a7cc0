#pragma once

#include <filesystem>
#include <vector>

#include "testing/golden.h"

namespace grouphead::testing {

/// Whether the folder, or a folder in it, has a tokenizer.json with a cases.json.
bool has_tokenizer_golden(const std::filesystem::path& folder);

/// Compares tokenizers with what Hugging Face's `tokenizers` answered, exactly. Each tokenizer.json
/// has beside it a cases.json, {"tokenizers": version, "cases": [...]}, whose entries have a `text`
/// (or `ids` alone, which are decoded) and any of
///
///   ids, ids_special          encoded without and with special tokens
///   decoded, decoded_special  ids_special decoded without and with special tokens
///   pair                      a second text; then `ids` and the like are those of both
///   type_ids, attention_mask  of ids_special
///
/// Whether StreamDecoder gives what decode() gives is part of `decoded`. One result for each text.
/// Errors: IoError for files that cannot be read, or hold no case.
std::vector<GoldenResult> run_tokenizer_golden(const std::filesystem::path& folder);

}  // namespace grouphead::testing
