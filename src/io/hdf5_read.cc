#include <algorithm>
#include <cstring>
#include <limits>
#include <set>

#include "io/hdf5.h"
#include "io/hdf5_check.h"
#include "io/hdf5_chunks.h"
#include "io/hdf5_types.h"
#include "io/limits.h"

namespace grouphead::io {
namespace {

constexpr std::size_t kLongestName = 1024;
constexpr int kDeepest = 64;                  // groups inside each other
constexpr Index kMostBytes = Index{1} << 48;  // of an array; sums of these fit

/// What the library is told instead of copying the image: where it lies.
struct ImageInPlace {
  void* start;
  std::size_t bytes;
};

void* give_image(std::size_t bytes, H5FD_file_image_op_t /*op*/, void* client) {
  const auto* image = static_cast<const ImageInPlace*>(client);
  return bytes == image->bytes ? image->start : nullptr;
}
void* leave_image(void* to, const void* /*from*/, std::size_t /*bytes*/,
                  H5FD_file_image_op_t /*op*/, void* /*client*/) {
  return to;
}
void* never_grow(void* /*start*/, std::size_t /*bytes*/, H5FD_file_image_op_t /*op*/,
                 void* /*client*/) {
  return nullptr;
}
herr_t keep_image(void* /*start*/, H5FD_file_image_op_t /*op*/, void* /*client*/) { return 0; }
void* same_client(void* client) { return client; }
herr_t keep_client(void* /*client*/) { return 0; }

/// A link of a group.
struct Link {
  std::string name;
  bool is_hard = false;
};
struct Links {
  std::vector<Link> list;
  bool has_long_name = false;
};

extern "C" herr_t collect_link(hid_t /*group*/, const char* name, const H5L_info_t* info,
                               void* client) {
  auto* links = static_cast<Links*>(client);
  const std::size_t length = ::strnlen(name, kLongestName + 1);
  links->has_long_name = length > kLongestName;
  if (links->has_long_name) return -1;
  links->list.push_back({std::string(name, length), info->type == H5L_TYPE_HARD});
  return 0;
}

}  // namespace

struct Hdf5File::Handle {
  ImageInPlace image;
  Hdf5Id file;
};

/// Reads the structure of a file.
class Hdf5Walk {
 public:
  Hdf5Walk(Hdf5File& file, std::map<std::uint64_t, Hdf5Texts> texts)
      : file_(file), texts_(std::move(texts)) {}

  void open() {
    const auto bytes = file_.image_.size();
    // The library asks for a pointer it could write to; a file opened for reading never does.
    file_.file_->image = {const_cast<std::byte*>(file_.image_.data()), bytes};
    H5FD_file_image_callbacks_t callbacks{};
    callbacks.image_malloc = give_image;
    callbacks.image_memcpy = leave_image;
    callbacks.image_realloc = never_grow;
    callbacks.image_free = keep_image;
    callbacks.udata_copy = same_client;
    callbacks.udata_free = keep_client;
    callbacks.udata = &file_.file_->image;
    const Hdf5Id access = checked(H5Pcreate(H5P_FILE_ACCESS), H5Pclose, "");
    H5Pset_fapl_core(access.get(), 1 << 16, 0);
    H5Pset_file_image_callbacks(access.get(), &callbacks);
    H5Pset_file_image(access.get(), file_.file_->image.start, bytes);
    H5Pset_fclose_degree(access.get(), H5F_CLOSE_STRONG);
    file_.file_->file =
        checked(H5Fopen(next_hdf5_name().c_str(), H5F_ACC_RDONLY, access.get()), H5Fclose, "");
  }

  void read_structure() {
    const Hdf5Id root = checked(H5Gopen2(file_.file_->file.get(), "/", H5P_DEFAULT), H5Gclose, "");
    add_group(root.get(), "", 0);
  }

 private:
  [[noreturn]] void fail(const std::string& path, const std::string& problem) const {
    throw IoError("[hdf5] " + file_.name_ + ": " + (path.empty() ? "" : path + ": ") + problem);
  }

  Hdf5Id checked(hid_t id, herr_t (*close)(hid_t), const std::string& path) const {
    if (id < 0) fail(path, "damaged");
    return Hdf5Id(id, close, "");
  }

  /// Each object stands at one place: no circles, and no small file of endless paths.
  /// Its texts.
  Hdf5Texts visit(hid_t object, const std::string& path) {
    H5O_info_t info{};
    if (H5Oget_info2(object, &info, H5O_INFO_BASIC) < 0) fail(path, "damaged");
    if (!visited_.insert(info.addr).second) fail(path, "an object that has another place too");
    const auto found = texts_.find(info.addr);
    return found == texts_.end() ? Hdf5Texts() : std::move(found->second);
  }

  void add_group(hid_t group, const std::string& path, int depth) {
    if (depth > kDeepest) fail(path, "more than 64 groups inside each other");
    file_.groups_[path] = visit(group, path);
    Links links;
    hsize_t start = 0;
    const herr_t done =
        H5Literate(group, H5_INDEX_NAME, H5_ITER_NATIVE, &start, collect_link, &links);
    if (links.has_long_name) fail(path, "a name of more than 1024 bytes");
    if (done < 0) fail(path, "damaged");
    for (const Link& link : links.list) {
      const std::string inner = path.empty() ? link.name : path + "/" + link.name;
      if (link.name.empty() || link.name.find('/') != std::string::npos) {
        fail(path, "damaged: a name that is a path");
      }
      if (!link.is_hard) fail(inner, "a link to another place, which model files must not have");
      add_object(group, link.name, inner, depth + 1);
    }
  }

  void add_object(hid_t group, const std::string& name, const std::string& path, int depth) {
    const Hdf5Id object = checked(H5Oopen(group, name.c_str(), H5P_DEFAULT), H5Oclose, path);
    const H5I_type_t kind = H5Iget_type(object.get());
    if (kind == H5I_GROUP) return add_group(object.get(), path, depth);
    if (kind != H5I_DATASET) return;  // a named type holds no numbers
    add_dataset(object.get(), path, visit(object.get(), path));
  }

  void add_dataset(hid_t dataset, const std::string& path, const Hdf5Texts& texts) {
    Hdf5Dataset& made = file_.datasets_[path];
    const Hdf5Id type = checked(H5Dget_type(dataset), H5Tclose, path);
    const Hdf5Type known = type_from_hdf5(type.get());
    made.dtype = known.dtype;
    made.is_int8 = known.is_int8;
    const auto mark = texts.find("dtype");
    const bool is_bf16 = known.is_opaque && mark != texts.end() &&
                         mark->second == std::vector<std::string>{"bfloat16"};
    if (!known.is_known || (known.is_opaque && !is_bf16)) {
      made.problem = "a type of elements that models do not have";
    }
    set_shape(dataset, path, made);
    if (made.problem.empty()) set_place(dataset, path, made);
  }

  void set_shape(hid_t dataset, const std::string& path, Hdf5Dataset& made) const {
    const Hdf5Id space = checked(H5Dget_space(dataset), H5Sclose, path);
    const int rank = H5Sget_simple_extent_ndims(space.get());
    if (rank < 0) fail(path, "damaged");
    if (rank > kMaxRank || H5Sget_simple_extent_type(space.get()) == H5S_NULL) {
      made.problem = "expected a shape of at most 8 axes";
      return;
    }
    hsize_t sizes[kMaxRank] = {};
    if (rank > 0) H5Sget_simple_extent_dims(space.get(), sizes, nullptr);
    Index dims[kMaxRank] = {};
    for (int i = 0; i < rank; ++i) {
      if (sizes[i] > static_cast<hsize_t>(std::numeric_limits<Index>::max())) fail(path, "damaged");
      dims[i] = static_cast<Index>(sizes[i]);
    }
    try {
      made.shape = Shape(std::span<const Index>(dims, static_cast<std::size_t>(rank)));
    } catch (const ShapeError&) {
      fail(path, "damaged: its number of elements overflows");
    }
  }

  Index stored_bytes(const Hdf5Dataset& made) const {
    const Index width = made.is_int8 ? 1 : size_of(made.dtype);
    if (made.shape.size() > std::numeric_limits<Index>::max() / width) fail("", "damaged");
    return made.shape.size() * width;
  }

  /// Where the elements are; that there is as much as the shape says.
  void set_place(hid_t dataset, const std::string& path, Hdf5Dataset& made) {
    const Index bytes = stored_bytes(made);
    const Hdf5Id creation = checked(H5Dget_create_plist(dataset), H5Pclose, path);
    const auto stored = static_cast<Index>(H5Dget_storage_size(dataset));
    const auto image_bytes = static_cast<Index>(file_.image_.size());
    if (stored < 0 || stored > image_bytes) fail(path, "damaged: it has more bytes than the file");
    switch (H5Pget_layout(creation.get())) {
      case H5D_CONTIGUOUS:
        if (H5Pget_external_count(creation.get()) > 0) {
          fail(path, "numbers in another file, which model files must not have");
        }
        if (stored != bytes) fail(path, sizes_differ(bytes, stored));
        // Arrays do not share their bytes, so all of them are no more than the file.
        contiguous_bytes_ += bytes;
        if (contiguous_bytes_ > image_bytes) fail(path, "bytes that another array has too");
        if (!made.is_int8) set_elements(dataset, path, bytes, made);
        return;
      case H5D_COMPACT:
        if (stored != bytes) fail(path, sizes_differ(bytes, stored));
        return;
      case H5D_CHUNKED:
        made.is_chunked = true;
        chunked_bytes_ += std::min(bytes, kMostBytes);
        if (expands_too_far(chunked_bytes_, image_bytes)) {
          fail(path, "expected at most 100 bytes of arrays for each of the file, got more");
        }
        if (expands_too_far(bytes, stored)) {
          fail(path, "expected at most 100 bytes for each that is stored, got " +
                         std::to_string(bytes) + " from " + std::to_string(stored));
        }
        return;
      default:
        fail(path, "numbers in another file, which model files must not have");
    }
  }

  static std::string sizes_differ(Index expected, Index stored) {
    return "expected " + std::to_string(expected) + " bytes, got " + std::to_string(stored);
  }

  void set_elements(hid_t dataset, const std::string& path, Index bytes, Hdf5Dataset& made) const {
    if (bytes == 0) return;
    const haddr_t offset = H5Dget_offset(dataset);
    const auto image_bytes = static_cast<haddr_t>(file_.image_.size());
    if (offset == HADDR_UNDEF || offset > image_bytes ||
        static_cast<haddr_t>(bytes) > image_bytes - offset) {
      fail(path, "damaged: its numbers lie outside the file");
    }
    made.elements = file_.image_.subspan(offset, static_cast<std::size_t>(bytes));
  }

  Hdf5File& file_;
  std::map<std::uint64_t, Hdf5Texts> texts_;  // of each object
  std::set<haddr_t> visited_;
  Index contiguous_bytes_ = 0;  // of all arrays so far
  Index chunked_bytes_ = 0;
};

Hdf5File::Hdf5File(std::span<const std::byte> image, std::shared_ptr<const void> owner,
                   std::string name)
    : image_(image),
      owner_(std::move(owner)),
      name_(std::move(name)),
      file_(std::make_unique<Handle>()) {
  auto texts = require_sound_hdf5(image_, "[hdf5] " + name_);
  const Hdf5Lock lock;
  Hdf5Walk walk(*this, std::move(texts));
  try {
    walk.open();
    walk.read_structure();
  } catch (...) {
    file_.reset();  // under the lock
    throw;
  }
}

Hdf5File::~Hdf5File() {
  const Hdf5Lock lock;
  file_.reset();
}

const Hdf5Dataset& Hdf5File::dataset(const std::string& path) const {
  const auto found = datasets_.find(path);
  const std::string problem = found == datasets_.end() ? "no such array" : found->second.problem;
  if (!problem.empty()) throw IoError("[hdf5] " + name_ + ": " + path + ": " + problem);
  return found->second;
}

Tensor Hdf5File::read(const std::string& path) const {
  const Hdf5Dataset& found = dataset(path);
  const std::string damaged = "[hdf5] " + name_ + ": " + path + ": damaged";
  Tensor numbers(found.shape, found.dtype);
  if (numbers.size() == 0) return numbers;
  std::vector<signed char> small(found.is_int8 ? static_cast<std::size_t>(numbers.size()) : 0);
  void* target = found.is_int8 ? small.data() : numbers.view().raw();
  if (!found.elements.empty()) {
    std::memcpy(target, found.elements.data(), found.elements.size());
  } else {
    const Hdf5Lock lock;
    const Hdf5Id dataset(H5Dopen2(file_->file.get(), path.c_str(), H5P_DEFAULT), H5Dclose, damaged);
    const Hdf5Id type(H5Dget_type(dataset.get()), H5Tclose, damaged);
    if (found.is_chunked) {
      read_chunks(dataset.get(), found.shape, found.is_int8 ? 1 : size_of(found.dtype),
                  image_.size(), damaged, static_cast<std::byte*>(target));
    } else if (H5Dread(dataset.get(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, target) < 0) {
      throw IoError(damaged);
    }
  }
  if (found.is_int8) std::copy(small.begin(), small.end(), numbers.data<std::int32_t>());
  if (found.dtype == Dtype::boolean) {
    const auto* bytes = static_cast<const unsigned char*>(numbers.view().raw());
    if (std::any_of(bytes, bytes + numbers.size(), [](unsigned char b) { return b > 1; })) {
      throw IoError(damaged + ": expected bytes 0 and 1");
    }
  }
  return numbers;
}

}  // namespace grouphead::io
