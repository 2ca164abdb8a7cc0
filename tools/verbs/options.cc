#include "tools/verbs/options.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "grouphead/files/classes.h"

namespace grouphead::tools {
namespace {

constexpr std::size_t kColumns = 80;
constexpr std::size_t kNameColumns = 30;

/// Breaks lines between words so that they fit `width`; lines that end already stay.
std::string wrapped(const std::string& text, std::size_t width) {
  std::string out;
  std::size_t column = 0;
  for (std::size_t at = 0; at < text.size();) {
    if (text[at] == '\n') {
      out += '\n';
      column = 0;
      ++at;
      continue;
    }
    const std::size_t end = std::min(text.find_first_of(" \n", at), text.size());
    const std::size_t length = end - at;
    if (column > 0 && column + 1 + length > width) {
      out += '\n';
      column = 0;
    } else if (column > 0) {
      out += ' ';
      ++column;
    }
    out.append(text, at, length);
    column += length;
    at = end < text.size() && text[end] == ' ' ? end + 1 : end;
  }
  return out;
}

/// How many letters have to be typed differently (Levenshtein's distance).
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, diagonal + 1});
    }
  }
  return row.back();
}

std::string suggestion(const std::string& word, const std::vector<std::string>& known) {
  const auto is_near = [&](const std::string& name) {
    return (word.size() > 2 && name.starts_with(word)) ||
           distance(word, name) <= std::max<std::size_t>(1, word.size() / 3);
  };
  const std::string* best = nullptr;
  for (const std::string& name : known) {
    if (!is_near(name)) continue;
    if (best == nullptr || distance(word, name) < distance(word, *best)) best = &name;
  }
  return best == nullptr ? "" : fmt::format("; did you mean {}?", *best);
}

std::vector<std::string> verbs_of(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* verb : app.get_subcommands({})) names.push_back(verb->get_name());
  return names;
}

std::vector<std::string> options_of(const CLI::App& verb) {
  std::vector<std::string> names;
  for (const CLI::Option* option : verb.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
    for (const std::string& name : option->get_fnames()) names.push_back("--" + name);
  }
  return names;
}

}  // namespace

HelpFormatter::HelpFormatter() {
  column_width(kNameColumns);
  label("SUBCOMMAND", "COMMAND");
  label("Positionals", "Arguments");
}

std::string HelpFormatter::make_option_name(const CLI::Option* option, bool is_positional) const {
  const std::string name = CLI::Formatter::make_option_name(option, is_positional);
  return name.substr(0, name.find("{false}"));  // of --no-rope
}

std::string HelpFormatter::make_option_opts(const CLI::Option* option) const {
  if (option->get_type_size() == 0) return "";
  std::string value = option->get_type_name();  // TEXT:{f32,bf16} where only some are taken
  if (const std::size_t choices = value.find('{'); choices != std::string::npos) {
    value = value.substr(choices);
  }
  std::string text = value.empty() || option->get_positional() ? "" : " " + value;
  if (option->get_expected_max() == CLI::detail::expected_max_vector_size) text += " ...";
  return text;
}

std::string HelpFormatter::make_option_desc(const CLI::Option* option) const {
  std::string text = option->get_description();
  const std::string& preset = option->get_default_str();
  if (option->get_type_size() != 0 && !preset.empty()) text += fmt::format(" [{}]", preset);
  if (option->get_required() && !option->get_positional()) text += " (required)";
  for (const CLI::Option* other : option->get_needs()) {
    text += fmt::format(" (with {})", other->get_name());
  }
  for (const CLI::Option* other : option->get_excludes()) {
    text += fmt::format(" (not with {})", other->get_name());
  }
  return wrapped(text, kColumns - kNameColumns);
}

std::string text_of(const CLI::ParseError& error, const CLI::App& app, int argc, char** argv) {
  const CLI::App* verb = nullptr;
  for (const CLI::App* chosen : app.get_subcommands()) verb = chosen;
  if (verb == nullptr && argc > 1) {
    const std::string word = argv[1];
    const bool is_option = word.starts_with("-");
    const std::vector<std::string> known = is_option ? options_of(app) : verbs_of(app);
    return fmt::format("{}: no such {}{}\n'grouphead --help' lists the commands", word,
                       is_option ? "option" : "command", suggestion(word, known));
  }
  if (verb == nullptr) return app.help();
  std::string text = fmt::format("{}: {}", verb->get_name(), error.what());
  if (const std::vector<std::string> unknown = app.remaining(true); !unknown.empty()) {
    const std::string& word = unknown.front();
    const std::string name = word.substr(0, word.find('='));
    text = word.starts_with("-")
               ? fmt::format("{}: {}: no such option{}", verb->get_name(), name,
                             suggestion(name, options_of(*verb)))
               : fmt::format("{}: {}: one argument too many", verb->get_name(), word);
  }
  return fmt::format("{}\n'grouphead {} --help' explains the options", text, verb->get_name());
}

void add_classes(CLI::App& verb, ClassFiles& files) {
  verb.add_option("--classes", files, "JSON that says which functional models your classes are")
      ->type_name("FILE")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
}

void register_all(const ClassFiles& files) {
  for (const std::filesystem::path& file : files) register_classes(file);
}

}  // namespace grouphead::tools
