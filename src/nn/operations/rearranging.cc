// keras.ops.rearrange: "b t (h d) -> b h t d".

#include <algorithm>
#include <map>

#include "core/check.h"
#include "nn/operations/traced.h"

namespace grouphead::nn {
namespace {

using namespace steps;
using Results = std::vector<Var>;
using Group = std::vector<std::string>;  // the names that share an axis

constexpr std::string_view kModule = "keras.src.ops.einops";

class Pattern {
 public:
  Pattern(const TracedCall& call, const std::string& text) : call_(call), text_(text) {
    const std::size_t arrow = text.find("->");
    if (arrow == std::string::npos) refuse();
    from_ = groups(std::string_view(text).substr(0, arrow));
    to_ = groups(std::string_view(text).substr(arrow + 2));
  }

  Var applied(Var x) const {
    if (static_cast<int>(from_.size()) != x.rank()) refuse();
    std::map<std::string, Index> sizes;
    for (std::size_t i = 0; i < from_.size(); ++i) {
      settle(from_[i], x.dim(static_cast<int>(i)), sizes);
    }
    Group names;
    std::vector<Index> split;
    for (const Group& group : from_) {
      for (const std::string& name : group) {
        names.push_back(name);
        split.push_back(sizes.at(name));
      }
    }
    Axes order;
    std::vector<Index> joined;
    for (const Group& group : to_) {
      Index size = 1;
      for (const std::string& name : group) {
        const auto found = std::find(names.begin(), names.end(), name);
        if (found == names.end()) refuse();
        order.push_back(static_cast<int>(found - names.begin()));
        size = size < 0 || sizes.at(name) < 0 ? -1 : size * sizes.at(name);
      }
      joined.push_back(size);
    }
    Axes sorted = order;
    std::sort(sorted.begin(), sorted.end());
    if (sorted != all_axes(static_cast<int>(names.size()))) refuse();
    const Var parts = transposed(reshaped(x, Shape::partial(split)), order);
    return reshaped(parts, Shape::partial(joined));
  }

 private:
  [[noreturn]] void refuse() const {
    core::throw_config_error(call_.name(), "pattern", "each axis of the tensor once on both sides",
                             text_);
  }

  std::vector<Group> groups(std::string_view side) const {
    std::vector<Group> made;
    bool is_open = false;
    for (std::size_t i = 0; i < side.size();) {
      const char c = side[i];
      if (c == ' ') {
        ++i;
      } else if (c == '(' && !is_open) {
        made.emplace_back();
        is_open = true;
        ++i;
      } else if (c == ')' && is_open) {
        is_open = false;
        ++i;
      } else {
        const std::size_t end = std::min(side.find_first_of(" ()", i), side.size());
        if (end == i || side[i] == '.') refuse();
        if (!is_open) made.emplace_back();
        made.back().emplace_back(side.substr(i, end - i));
        i = end;
      }
    }
    if (is_open) refuse();
    return made;
  }

  /// Sizes of the names that share an axis: those of the call, and one that the axis tells.
  void settle(const Group& group, Index dim, std::map<std::string, Index>& sizes) const {
    Index known = 1;
    const std::string* rest = nullptr;
    for (const std::string& name : group) {
      const ConfigValue& given = call_.arguments.given[name];
      if (sizes.contains(name)) refuse();
      if (given.is_null()) {
        if (rest != nullptr) refuse();
        rest = &name;
      }
      sizes[name] = given.is_null() ? -1 : given.as_integer(name);
      if (given.is_null()) continue;
      if (sizes[name] < 1 || sizes[name] > (Index{1} << 31)) refuse();
      known = Shape({known, sizes[name]}).size();  // may overflow
    }
    if (dim >= 0 && (rest == nullptr ? known != dim : dim % known != 0)) {
      core::throw_shape_error(call_.name(), "tensor", "sizes that fit " + text_,
                              std::to_string(dim));
    }
    if (rest != nullptr && dim >= 0) sizes[*rest] = dim / known;
  }

  const TracedCall& call_;
  std::string text_;
  std::vector<Group> from_, to_;
};

Results rearrange(TracedCall& call) {
  return {Pattern(call, call.literal(1).as_string("pattern")).applied(call[0])};
}

constexpr OperationClass kClasses[] = {
    traced_class(kModule, "Rearrange", "tensor,pattern!", rearrange),
};

}  // namespace

std::span<const OperationClass> rearranging_operations() { return kClasses; }

}  // namespace grouphead::nn
