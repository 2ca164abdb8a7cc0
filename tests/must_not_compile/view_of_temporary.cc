// error: use of deleted function|call to deleted member function
#include <grouphead/core/tensor.h>

void keep() {
#ifdef CONTROL
  const grouphead::Tensor made({2, 3});
  const grouphead::ConstView view = made.view();
#else
  const grouphead::ConstView view = grouphead::Tensor({2, 3}).view();
#endif
  static_cast<void>(view);
}
