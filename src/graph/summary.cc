#include "grouphead/model.h"

namespace grouphead {

std::string Model::summary() const { return name(); }

}  // namespace grouphead
