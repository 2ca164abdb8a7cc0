// error: could not convert|cannot convert|no viable conversion
#include <grouphead/core/tensor.h>

#ifdef CONTROL
grouphead::View writable(grouphead::Tensor& x) { return x; }
#else
grouphead::View writable(const grouphead::Tensor& x) { return x; }
#endif
