// error: use of deleted function|call to deleted member function
#include <grouphead/core/tensor.h>

const float* first(const grouphead::Tensor& x) {
#ifdef CONTROL
  return x.data<float>();
#else
  return x.clone().data<float>();
#endif
}
