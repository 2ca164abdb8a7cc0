// Tokenizers: the JSON of a file up to the first zero byte, then a text that goes through it.

#include <algorithm>
#include <string_view>

#include "fuzz.h"
#include "grouphead/text/tokenizer.h"
#include "io/json.h"
#include "text/pipeline.h"

namespace {

void run(const std::uint8_t* data, std::size_t size) {
  namespace gh = grouphead;
  constexpr std::size_t kLongestText = 1024;
  const std::string_view all(reinterpret_cast<const char*>(data), size);
  const std::size_t end = std::min(all.find('\0'), all.size());
  const std::string_view rest = all.substr(std::min(end + 1, all.size()));
  std::string_view text = rest.empty() ? std::string_view("It's 1,234 na\xC3\xAFve [CLS] words\xFF")
                                       : rest.substr(0, kLongestText);
  const gh::text::Pipeline pipeline(gh::io::parse_json(all.substr(0, end), "text"));
  const gh::Encoding encoding = pipeline.encode(text, text.substr(text.size() / 2), {});
  if (encoding.ids.size() != encoding.type_ids.size() ||
      encoding.ids.size() != encoding.attention_mask.size()) {
    __builtin_trap();
  }
  // What comes out in parts is what comes out at once.
  const auto parts = pipeline.decoder();
  const auto whole = pipeline.decoder();
  std::string joined;
  for (const std::int32_t id : encoding.ids) {
    if (const std::string* token = pipeline.shown_token(id, false)) {
      parts->push(*token);
      whole->push(*token);
      joined += parts->take();
    }
  }
  parts->finish();
  whole->finish();
  if (joined + parts->take() != whole->take()) __builtin_trap();
}

}  // namespace

GROUPHEAD_FUZZ_TARGET(run(data, size))
