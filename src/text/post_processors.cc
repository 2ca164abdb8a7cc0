#include "text/post_processors.h"

#include <algorithm>

#include "text/models.h"
#include "text/problem.h"
#include "text/steps.h"

namespace grouphead::text {
namespace {

void set_type(Encoding& part, std::int32_t type) {
  std::fill(part.type_ids.begin(), part.type_ids.end(), type);
}

Encoding special(std::vector<std::int32_t> ids, std::int32_t type) {
  const std::size_t size = ids.size();
  return {.ids = std::move(ids),
          .type_ids = std::vector<std::int32_t>(size, type),
          .attention_mask = std::vector<std::int32_t>(size, 1),
          .special_tokens_mask = std::vector<std::int32_t>(size, 1)};
}

/// BERT's [CLS] A [SEP] B [SEP] or RoBERTa's <s> A </s></s> B </s>, whose types are all 0.
class ClsSep final : public PostProcessor {
 public:
  ClsSep(const ConfigValue& config, bool is_roberta)
      : cls_(id_of(config["cls"])), sep_(id_of(config["sep"])), is_roberta_(is_roberta) {}

  void run(std::vector<Encoding>& parts, bool add_special_tokens) const override {
    for (std::size_t i = 0; is_roberta_ && i < parts.size(); ++i) set_type(parts[i], 0);
    if (!add_special_tokens) return;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const std::int32_t type = i == 0 || is_roberta_ ? 0 : 1;
      std::vector<Encoding> around;
      if (i == 0) around.push_back(special({cls_}, type));
      if (i > 0 && is_roberta_) around.push_back(special({sep_}, type));
      set_type(parts[i], type);
      around.push_back(std::move(parts[i]));
      around.push_back(special({sep_}, type));
      parts[i] = joined(std::move(around));
    }
  }

  std::size_t num_added(bool is_pair) const override {
    if (!is_pair) return 2;
    return is_roberta_ ? 4 : 3;
  }

 private:
  // ["[CLS]", 101]
  static std::int32_t id_of(const ConfigValue& token) {
    const ConfigValue::List& entry = token.as_list("token and id");
    if (entry.size() != 2) refuse("post_processor", "[token, id]", token.to_string());
    return id_from(entry[1]);
  }

  std::int32_t cls_;
  std::int32_t sep_;
  bool is_roberta_;
};

class Template final : public PostProcessor {
 public:
  explicit Template(const ConfigValue& config)
      : single_(pieces_from(config["single"], config["special_tokens"])),
        pair_(pieces_from(config["pair"], config["special_tokens"])) {}

  void run(std::vector<Encoding>& parts, bool add_special_tokens) const override {
    if (parts.empty() || parts.size() > 2) {
      refuse("post_processor", "one or two parts before a TemplateProcessing", "more");
    }
    std::vector<Encoding> out;
    for (const Part& part : parts.size() == 2 ? pair_ : single_) {
      if (part.text == kSpecial) {
        if (add_special_tokens) out.push_back(special(part.ids, part.type));
      } else if (part.text < parts.size()) {
        out.push_back(parts[part.text]);
        set_type(out.back(), part.type);
      }
    }
    parts = std::move(out);
  }

  std::size_t num_added(bool is_pair) const override {
    std::size_t count = 0;
    for (const Part& part : is_pair ? pair_ : single_) count += part.ids.size();
    return count;
  }

 private:
  static constexpr std::size_t kSpecial = 2;
  struct Part {
    std::size_t text = kSpecial;  // 0 or 1: of the pair
    std::vector<std::int32_t> ids{};
    std::int32_t type = 0;
  };

  static std::vector<Part> pieces_from(const ConfigValue& config, const ConfigValue& tokens) {
    constexpr std::size_t kMost = 1024;
    std::vector<Part> parts;
    if (config.is_null()) return parts;
    for (const ConfigValue& each : config.as_list("template")) {
      if (parts.size() == kMost) refuse("template", "at most 1024 parts", "more");
      const bool is_text = each.contains("Sequence");
      const ConfigValue& piece = each[is_text ? "Sequence" : "SpecialToken"];
      const std::string& name = piece["id"].as_string("id");
      Part part{.type = id_from(piece["type_id"])};
      if (is_text) {
        if (name != "A" && name != "B") refuse("template", "A or B", name);
        part.text = name == "A" ? 0 : 1;
      } else {
        for (const ConfigValue& id : tokens[name]["ids"].as_list("ids of " + name)) {
          part.ids.push_back(id_from(id));
        }
      }
      parts.push_back(std::move(part));
    }
    return parts;
  }

  std::vector<Part> single_;
  std::vector<Part> pair_;
};

/// Changes offsets alone, which nothing here has.
class Nothing final : public PostProcessor {
 public:
  void run(std::vector<Encoding>& /*parts*/, bool /*add_special_tokens*/) const override {}
  std::size_t num_added(bool /*is_pair*/) const override { return 0; }
};

class Sequence final : public PostProcessor {
 public:
  explicit Sequence(std::vector<std::unique_ptr<PostProcessor>> steps) : steps_(std::move(steps)) {}

  void run(std::vector<Encoding>& parts, bool add_special_tokens) const override {
    for (const auto& step : steps_) step->run(parts, add_special_tokens);
  }
  std::size_t num_added(bool is_pair) const override {
    std::size_t count = 0;
    for (const auto& step : steps_) count += step->num_added(is_pair);
    return count;
  }

 private:
  std::vector<std::unique_ptr<PostProcessor>> steps_;
};

std::unique_ptr<PostProcessor> make(const ConfigValue& config, StepCounter& steps) {
  steps.add();
  const std::string& type = config["type"].as_string("post_processor's type");
  if (type == "Sequence") {
    std::vector<std::unique_ptr<PostProcessor>> made;
    for (const ConfigValue& each : config["processors"].as_list("processors")) {
      made.push_back(make(each, steps));
    }
    return std::make_unique<Sequence>(std::move(made));
  }
  if (type == "ByteLevel") return std::make_unique<Nothing>();
  if (type == "TemplateProcessing") return std::make_unique<Template>(config);
  if (type == "BertProcessing") return std::make_unique<ClsSep>(config, false);
  if (type == "RobertaProcessing") return std::make_unique<ClsSep>(config, true);
  refuse("post_processor", "a type that is known", type);
}

// Applies `change` to each of the lists.
template <class Change>
void each_list(Encoding& encoding, const Change& change) {
  change(encoding.ids);
  change(encoding.type_ids);
  change(encoding.attention_mask);
  change(encoding.special_tokens_mask);
}

void shorten(Encoding& part, std::size_t length, bool keeps_end) {
  if (length >= part.ids.size()) return;
  each_list(part, [&](std::vector<std::int32_t>& list) {
    if (keeps_end) {
      list.erase(list.begin(), list.end() - static_cast<std::ptrdiff_t>(length));
    } else {
      list.resize(length);
    }
  });
}

bool is_left(const ConfigValue& direction) {
  return !direction.is_null() && direction.as_string("direction") == "Left";
}

// A length of a file.
std::size_t length_from(const ConfigValue& value, std::string_view what) {
  constexpr Index kMost = Index{1} << 24;
  const Index length = value.as_integer(what);
  if (length < 0) refuse(what, "0 or more", std::to_string(length));
  return static_cast<std::size_t>(std::min(length, kMost));
}

}  // namespace

std::unique_ptr<PostProcessor> post_processor_from(const ConfigValue& config) {
  StepCounter steps;
  return config.is_null() ? nullptr : make(config, steps);
}

std::optional<Truncation> truncation_from(const ConfigValue& config) {
  if (config.is_null()) return {};
  Truncation made{.max_length = length_from(config["max_length"], "max_length"),
                  .keeps_end = is_left(config["direction"])};
  const std::string& strategy = config["strategy"].as_string("strategy");
  if (strategy == "OnlyFirst") {
    made.strategy = Truncation::Strategy::only_first;
  } else if (strategy == "OnlySecond") {
    made.strategy = Truncation::Strategy::only_second;
  } else if (strategy != "LongestFirst") {
    refuse("strategy", "LongestFirst, OnlyFirst or OnlySecond", strategy);
  }
  return made;
}

std::optional<Padding> padding_from(const ConfigValue& config) {
  if (config.is_null()) return {};
  Padding made{.at_start = is_left(config["direction"]),
               .id = id_from(config["pad_id"]),
               .type_id = id_from(config["pad_type_id"])};
  const ConfigValue& strategy = config["strategy"];
  if (strategy.is_object()) made.length = length_from(strategy["Fixed"], "Fixed");
  const ConfigValue& multiple = config["pad_to_multiple_of"];
  if (!multiple.is_null()) made.multiple = length_from(multiple, "pad_to_multiple_of");
  return made;
}

void truncate(std::vector<Encoding>& parts, const Truncation& how) {
  std::size_t total = 0;
  for (const Encoding& part : parts) total += part.ids.size();
  if (total <= how.max_length) return;
  if (how.max_length == 0) {
    for (Encoding& part : parts) shorten(part, 0, how.keeps_end);
    return;
  }
  if (how.strategy != Truncation::Strategy::longest_first) {
    const std::size_t which = how.strategy == Truncation::Strategy::only_first ? 0 : 1;
    const std::size_t extra = total - how.max_length;
    if (which >= parts.size()) refuse("truncation", "a second text", "one text");
    const std::size_t length = parts[which].ids.size();
    if (length <= extra) {
      refuse("truncation", "a text longer than " + std::to_string(extra) + " tokens",
             std::to_string(length));
    }
    shorten(parts[which], length - extra, how.keeps_end);
    return;
  }
  if (parts.size() == 1) {
    shorten(parts[0], how.max_length, how.keeps_end);
    return;
  }
  // The longer text gives first; where that is not enough, both get half.
  std::size_t shorter = std::min(parts[0].ids.size(), parts[1].ids.size());
  const bool swapped = parts[0].ids.size() > parts[1].ids.size();
  std::size_t longer =
      shorter > how.max_length ? shorter : std::max(shorter, how.max_length - shorter);
  if (shorter + longer > how.max_length) {
    shorter = how.max_length / 2;
    longer = shorter + how.max_length % 2;
  }
  shorten(parts[0], swapped ? longer : shorter, how.keeps_end);
  shorten(parts[1], swapped ? shorter : longer, how.keeps_end);
}

void pad(std::span<Encoding> batch, const Padding& how) {
  std::size_t length = 0;
  for (const Encoding& each : batch) length = std::max(length, each.ids.size());
  length = how.length.value_or(length);
  if (how.multiple > 0 && length % how.multiple > 0) {
    length += how.multiple - length % how.multiple;
  }
  for (Encoding& each : batch) {
    if (each.ids.size() >= length) continue;
    const std::size_t missing = length - each.ids.size();
    const auto add = [&](std::vector<std::int32_t>& list, std::int32_t value) {
      list.insert(how.at_start ? list.begin() : list.end(), missing, value);
    };
    add(each.ids, how.id);
    add(each.type_ids, how.type_id);
    add(each.attention_mask, 0);
    add(each.special_tokens_mask, 1);
  }
}

Encoding joined(std::vector<Encoding> parts) {
  if (parts.empty()) return {};
  Encoding out = std::move(parts[0]);
  const auto add = [](std::vector<std::int32_t>& to, const std::vector<std::int32_t>& from) {
    to.insert(to.end(), from.begin(), from.end());
  };
  for (std::size_t i = 1; i < parts.size(); ++i) {
    add(out.ids, parts[i].ids);
    add(out.type_ids, parts[i].type_ids);
    add(out.attention_mask, parts[i].attention_mask);
    add(out.special_tokens_mask, parts[i].special_tokens_mask);
  }
  return out;
}

}  // namespace grouphead::text
