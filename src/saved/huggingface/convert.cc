#include "grouphead/files/pretrained.h"
#include "saved/huggingface/folder.h"

namespace grouphead {

PretrainedModel convert_heads(const PretrainedModel& pretrained, const HeadConversion& conversion) {
  const saved::FamilyModel found = saved::describe(pretrained.config, "config");
  const std::string_view key = found.described.heads_key;
  PretrainedModel converted{.model = convert_heads(*pretrained.model, conversion),
                            .family = pretrained.family,
                            .config = pretrained.config};
  converted.config.set(std::string(key.empty() ? saved::kSharedHeads : key),
                       conversion.num_key_value_heads);
  return converted;
}

}  // namespace grouphead
