#include "testing/tokenizer_golden.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "grouphead/text/tokenizer.h"
#include "io/file.h"
#include "io/json.h"

namespace grouphead::testing {
namespace {

namespace fs = std::filesystem;
using Ids = std::vector<std::int32_t>;

bool is_case(const fs::path& folder) {
  return fs::exists(folder / "tokenizer.json") && fs::exists(folder / "cases.json");
}

std::vector<fs::path> case_folders(const fs::path& folder) {
  if (is_case(folder)) return {folder};
  std::vector<fs::path> found;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (entry.is_directory() && is_case(entry.path())) found.push_back(entry.path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

std::string text_of(const std::string& text) { return io::json_text(ConfigValue(text)); }
std::string text_of(const Ids& ids) { return fmt::format("[{}]", fmt::join(ids, ", ")); }

Ids ids_from(const ConfigValue& value) {
  Ids ids;
  for (const ConfigValue& id : value.as_list("ids")) {
    ids.push_back(static_cast<std::int32_t>(id.as_integer("id")));
  }
  return ids;
}

/// One text through a tokenizer; `difference` is the first one found.
class TextCase {
 public:
  TextCase(const Tokenizer& tokenizer, const ConfigValue& fields)
      : tokenizer_(tokenizer), fields_(fields) {}

  std::string difference() {
    for (const auto& [name, value] : fields_.as_object("case")) {
      constexpr std::string_view kKnown[] = {"text",     "pair",           "ids",
                                             "type_ids", "attention_mask", "ids_special",
                                             "decoded",  "decoded_special"};
      if (std::find(std::begin(kKnown), std::end(kKnown), name) == std::end(kKnown)) {
        throw IoError("[golden] field: expected one that is known, got " + name);
      }
    }
    if (!fields_.contains("text")) {
      compare_texts(ids_from(fields_["ids"]));
      return difference_;
    }
    compare_ids("ids", encoded(false).ids);
    const Encoding special = encoded(true);
    compare_ids("ids_special", special.ids);
    compare_ids("type_ids", special.type_ids);
    compare_ids("attention_mask", special.attention_mask);
    compare_texts(special.ids);
    return difference_;
  }

 private:
  Encoding encoded(bool add_special_tokens) const {
    const EncodeOptions options{.add_special_tokens = add_special_tokens};
    const std::string& text = fields_["text"].as_string("text");
    if (!fields_.contains("pair")) return tokenizer_.encode(text, options);
    return tokenizer_.encode_pair(text, fields_["pair"].as_string("pair"), options);
  }

  void compare_ids(std::string_view field, const Ids& got) {
    if (!fields_.contains(field)) return;
    const Ids want = ids_from(fields_[field]);
    if (got != want) note(field, text_of(want), text_of(got));
  }

  void compare_texts(const Ids& ids) {
    compare_text("decoded", ids, {.skip_special_tokens = true});
    compare_text("decoded_special", ids, {.skip_special_tokens = false});
  }

  void compare_text(std::string_view field, const Ids& ids, const DecodeOptions& options) {
    if (!fields_.contains(field)) return;
    const std::string& want = fields_[field].as_string(field);
    const std::string got = tokenizer_.decode(ids, options);
    if (got != want) note(field, text_of(want), text_of(got));
    StreamDecoder stream(tokenizer_, options);
    std::string streamed;
    for (const std::int32_t id : ids) streamed += stream.push(id);
    streamed += stream.finish();
    if (streamed != want) note(field, text_of(want), text_of(streamed) + " from a stream");
  }

  void note(std::string_view field, const std::string& want, const std::string& got) {
    if (difference_.empty()) {
      difference_ = fmt::format(": {}: expected {}, got {}", field, want, got);
    }
  }

  const Tokenizer& tokenizer_;
  const ConfigValue& fields_;
  std::string difference_;
};

void run_folder(const fs::path& folder, std::vector<GoldenResult>& results) {
  const std::string name = fs::absolute(folder).lexically_normal().filename().string();
  try {
    const ConfigValue cases = io::parse_json(io::read_file(folder / "cases.json"), "cases.json");
    const Tokenizer tokenizer = Tokenizer::load(folder / "tokenizer.json");
    for (const ConfigValue& fields : cases["cases"].as_list("cases")) {
      std::string line = fmt::format(
          "{} {}", name, io::json_text(fields[fields.contains("text") ? "text" : "ids"]));
      std::string difference;
      try {
        difference = TextCase(tokenizer, fields).difference();
      } catch (const Error& error) {
        difference = fmt::format(": {}", error.what());
      }
      results.push_back({difference.empty(), line + difference});
    }
  } catch (const Error& error) {
    results.push_back({false, fmt::format("{}: {}", name, error.what())});
  }
}

}  // namespace

bool has_tokenizer_golden(const fs::path& folder) { return !case_folders(folder).empty(); }

std::vector<GoldenResult> run_tokenizer_golden(const fs::path& folder) {
  std::vector<GoldenResult> results;
  for (const fs::path& each : case_folders(folder)) run_folder(each, results);
  if (results.empty()) {
    throw IoError("[golden] " + folder.string() + ": expected cases of tokenizers, got none");
  }
  return results;
}

}  // namespace grouphead::testing
