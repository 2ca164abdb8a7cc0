#pragma once

#include "io/zip.h"
#include "saved/keras_objects.h"

namespace grouphead::saved {

/// Gives layers whose vocabulary is not in their configuration the one that a `.keras` archive has
/// beside it. Errors: IoError; ConfigError for a text that is no vocabulary of the layer.
void read_vocabularies(const io::ZipFile& archive, const std::vector<KerasObject>& objects);

/// Lines as Python's str.splitlines() finds them in UTF-8, without empty ones at the end.
std::vector<std::string> vocabulary_lines(std::string_view text);

}  // namespace grouphead::saved
