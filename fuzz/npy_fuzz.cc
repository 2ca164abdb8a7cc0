#include "fuzz.h"
#include "io/npy.h"

GROUPHEAD_FUZZ_TARGET(
    grouphead::fuzz::touch(grouphead::io::read_npy(grouphead::fuzz::owned(data, size), "bytes")))
