// error: could not convert|no viable conversion
#include <grouphead/core/tensor.h>

#ifdef CONTROL
using From = grouphead::View;
#else
using From = grouphead::ConstView;
#endif

grouphead::View writable(From x) { return x; }
