#include "fuzz.h"
#include "io/zip.h"

namespace {

// Members that claim more are left alone: it is the reader who knows what a member may cost.
constexpr grouphead::Index kLargestMember = 1 << 24;

void read(const std::uint8_t* data, std::size_t size) {
  const grouphead::io::ZipFile archive(grouphead::fuzz::owned(data, size), "bytes");
  for (const std::string& member : archive.names()) {
    try {
      const auto bytes = archive.read(member, kLargestMember);
      for (const std::byte& byte : bytes.bytes) (void)*const_cast<const volatile std::byte*>(&byte);
    } catch (const grouphead::IoError&) {
      // The next one may be readable.
    }
  }
}

}  // namespace

GROUPHEAD_FUZZ_TARGET(read(data, size))
