#include "saved/keras_assets.h"

#include <array>

#include "grouphead/layers/lookup.h"

namespace grouphead::saved {
namespace {

// CR LF before its parts; then U+0085, U+2028 and U+2029.
constexpr std::array<std::string_view, 11> kLineEnds = {
    "\r\n", "\n",   "\r",       "\v",           "\f",          "\x1C",
    "\x1D", "\x1E", "\xC2\x85", "\xE2\x80\xA8", "\xE2\x80\xA9"};

std::size_t line_end_size(std::string_view text) noexcept {
  for (const std::string_view end : kLineEnds) {
    if (text.starts_with(end)) return end.size();
  }
  return 0;
}

}  // namespace

std::vector<std::string> vocabulary_lines(std::string_view text) {
  std::vector<std::string> lines;
  std::size_t begin = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t size = line_end_size(text.substr(at));
    if (size == 0) {
      ++at;
      continue;
    }
    lines.emplace_back(text.substr(begin, at - begin));
    at += size;
    begin = at;
  }
  lines.emplace_back(text.substr(begin));
  while (!lines.empty() && lines.back().empty()) lines.pop_back();
  return lines;
}

void read_vocabularies(const io::ZipFile& archive, const std::vector<KerasObject>& objects) {
  for (const KerasObject& object : objects) {
    // Loading is given a model to change.
    auto* lookup = dynamic_cast<LookupLayer*>(const_cast<Layer*>(object.layer));
    if (lookup == nullptr || lookup->has_vocabulary()) continue;
    const std::string member = std::string("assets/").append(object.path).append("/vocabulary.txt");
    if (!archive.contains(member)) continue;
    const io::OwnedBytes text = archive.read(member);
    lookup->set_vocabulary_lines(vocabulary_lines(text.text()));
  }
}

}  // namespace grouphead::saved
