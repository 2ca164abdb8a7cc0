#pragma once

// Tables in box-drawing characters, as Keras prints its summaries.

#include <string>
#include <vector>

namespace grouphead::graph {

struct Column {
  std::string header;
  int width = 0;  ///< of the text
  bool is_right_aligned = false;
};

/// Texts are wrapped at spaces; a word that is too long ends in "…".
std::string text_table(const std::vector<Column>& columns,
                       const std::vector<std::vector<std::string>>& rows);

}  // namespace grouphead::graph
