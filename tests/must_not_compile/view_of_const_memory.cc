// error: no matching function for call|no matching constructor
#include <grouphead/core/tensor.h>

#ifdef CONTROL
using Element = float;
#else
using Element = const float;
#endif

grouphead::View view_of(Element* data) { return grouphead::View(data, {2, 3}); }
