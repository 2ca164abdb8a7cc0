// error: no matching function for call|no matching constructor
#include <grouphead/core/tensor.h>

#ifdef CONTROL
using Memory = void;
#else
using Memory = const void;
#endif

grouphead::View view_of(Memory* data) {
  return grouphead::View(data, grouphead::Dtype::f32, {2, 3});
}
