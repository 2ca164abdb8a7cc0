// error: could not convert|cannot convert|no viable conversion
#include <grouphead/core/tensor.h>

void clear(grouphead::Tensor& x) {
#ifdef CONTROL
  grouphead::fill_zero(x);
#else
  grouphead::fill_zero(x.clone());
#endif
}
