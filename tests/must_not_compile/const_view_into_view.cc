// error: invalid initialization of reference|non-const lvalue reference
#include <grouphead/core/tensor.h>

// Through a reference, const memory could enter a View.
void assign(grouphead::View& to, grouphead::ConstView from) {
#ifdef CONTROL
  grouphead::ConstView all = to;
#else
  grouphead::ConstView& all = to;
#endif
  all = from;
}
