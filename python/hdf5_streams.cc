// Debian's HDF5 archive is not made for shared objects: of libc's data it reads stderr and stdout
// alone, by addresses that the module must have itself. HDF5's shared library is no choice for a
// wheel: it needs thirty more, curl and Kerberos among them, for files in the cloud.

#include <dlfcn.h>

#include <cstdio>
#undef stderr
#undef stdout

extern "C" {
__attribute__((visibility("hidden"))) std::FILE* stderr = nullptr;
__attribute__((visibility("hidden"))) std::FILE* stdout = nullptr;
}

namespace {

// Before any other code of the module runs.
__attribute__((constructor(101))) void take_libc_streams() {
  stderr = *static_cast<std::FILE**>(dlsym(RTLD_DEFAULT, "stderr"));
  stdout = *static_cast<std::FILE**>(dlsym(RTLD_DEFAULT, "stdout"));
}

}  // namespace
