#include <algorithm>
#include <cstdlib>

#include "io/hdf5.h"
#include "io/hdf5_types.h"

namespace grouphead::io {
namespace {

const std::string kFailed = "[hdf5] write: the library failed";

void require(herr_t status) {
  if (status < 0) throw IoError(kFailed);
}

/// Memory that the library grows and leaves behind when it closes the file.
struct Image {
  void* start = nullptr;
  ~Image() { std::free(start); }
};

void* grow_image(void* start, std::size_t bytes, H5FD_file_image_op_t /*op*/, void* client) {
  void* grown = std::realloc(start, bytes);
  if (grown != nullptr) static_cast<Image*>(client)->start = grown;
  return grown;
}
void* new_image(std::size_t bytes, H5FD_file_image_op_t op, void* client) {
  return grow_image(nullptr, bytes, op, client);
}
void* copy_image(void* to, const void* from, std::size_t bytes, H5FD_file_image_op_t /*op*/,
                 void* /*client*/) {
  return std::copy_n(static_cast<const char*>(from), bytes, static_cast<char*>(to)) - bytes;
}
herr_t leave_image(void* /*start*/, H5FD_file_image_op_t /*op*/, void* /*client*/) { return 0; }
void* same_client(void* client) { return client; }
herr_t keep_client(void* /*client*/) { return 0; }

Hdf5Id text_type(std::size_t size) {
  Hdf5Id type(H5Tcopy(H5T_C_S1), H5Tclose, kFailed);
  require(H5Tset_size(type.get(), size));
  require(H5Tset_cset(type.get(), H5T_CSET_UTF8));
  return type;
}

}  // namespace

struct Hdf5Writer::File {
  Image image;
  Hdf5Id file;
  Hdf5Id with_parents;  // how links are made
  std::size_t bytes = 0;
};

Hdf5Writer::Hdf5Writer(Index expected_bytes) : file_(std::make_unique<File>()) {
  const Hdf5Lock lock;
  H5FD_file_image_callbacks_t callbacks{};
  callbacks.image_malloc = new_image;
  callbacks.image_memcpy = copy_image;
  callbacks.image_realloc = grow_image;
  callbacks.image_free = leave_image;
  callbacks.udata_copy = same_client;
  callbacks.udata_free = keep_client;
  callbacks.udata = &file_->image;
  constexpr Index kLeast = 1 << 16;
  const Hdf5Id access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose, kFailed);
  require(H5Pset_fapl_core(access.get(), static_cast<std::size_t>(std::max(kLeast, expected_bytes)),
                           0));
  require(H5Pset_file_image_callbacks(access.get(), &callbacks));
  require(H5Pset_fclose_degree(access.get(), H5F_CLOSE_STRONG));
  file_->file =
      Hdf5Id(H5Fcreate(next_hdf5_name().c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access.get()),
             H5Fclose, kFailed);
  file_->with_parents = Hdf5Id(H5Pcreate(H5P_LINK_CREATE), H5Pclose, kFailed);
  require(H5Pset_create_intermediate_group(file_->with_parents.get(), 1));
}

Hdf5Writer::~Hdf5Writer() {
  const Hdf5Lock lock;
  file_->file = Hdf5Id();
  file_->with_parents = Hdf5Id();
}

void Hdf5Writer::group(const std::string& path) {
  const Hdf5Lock lock;
  Hdf5Id(H5Gcreate2(file_->file.get(), path.c_str(), file_->with_parents.get(), H5P_DEFAULT,
                    H5P_DEFAULT),
         H5Gclose, kFailed);
}

void Hdf5Writer::text(const std::string& group, const std::string& name, std::string_view value) {
  const Hdf5Lock lock;
  const Hdf5Id object(H5Oopen(file_->file.get(), group.empty() ? "/" : group.c_str(), H5P_DEFAULT),
                      H5Oclose, kFailed);
  const Hdf5Id type = text_type(H5T_VARIABLE);
  const Hdf5Id space(H5Screate(H5S_SCALAR), H5Sclose, kFailed);
  const Hdf5Id attribute(
      H5Acreate2(object.get(), name.c_str(), type.get(), space.get(), H5P_DEFAULT, H5P_DEFAULT),
      H5Aclose, kFailed);
  const std::string copied(value);
  const char* start = copied.c_str();
  require(H5Awrite(attribute.get(), type.get(), &start));
}

void Hdf5Writer::texts(const std::string& group, const std::string& name,
                       const std::vector<std::string>& values) {
  const Hdf5Lock lock;
  const Hdf5Id object(H5Oopen(file_->file.get(), group.empty() ? "/" : group.c_str(), H5P_DEFAULT),
                      H5Oclose, kFailed);
  std::size_t width = 1;
  for (const std::string& value : values) width = std::max(width, value.size());
  std::string bytes;
  for (const std::string& value : values) bytes += value + std::string(width - value.size(), '\0');
  const Hdf5Id type = text_type(width);
  require(H5Tset_strpad(type.get(), H5T_STR_NULLPAD));
  const auto count = static_cast<hsize_t>(values.size());
  const Hdf5Id space(H5Screate_simple(1, &count, nullptr), H5Sclose, kFailed);
  const Hdf5Id attribute(
      H5Acreate2(object.get(), name.c_str(), type.get(), space.get(), H5P_DEFAULT, H5P_DEFAULT),
      H5Aclose, kFailed);
  if (!values.empty()) require(H5Awrite(attribute.get(), type.get(), bytes.data()));
}

void Hdf5Writer::dataset(const std::string& path, const ConstView& numbers) {
  write(path, numbers, false);
}

void Hdf5Writer::int8_dataset(const std::string& path, const ConstView& bytes) {
  write(path, bytes, true);
}

void Hdf5Writer::write(const std::string& path, const ConstView& numbers, bool is_int8) {
  const Hdf5Lock lock;
  hsize_t dims[kMaxRank] = {};
  for (int i = 0; i < numbers.rank(); ++i) dims[i] = static_cast<hsize_t>(numbers.dim(i));
  const Hdf5Id space(
      numbers.rank() == 0 ? H5Screate(H5S_SCALAR) : H5Screate_simple(numbers.rank(), dims, nullptr),
      H5Sclose, kFailed);
  const Hdf5Id type = is_int8 ? int8_to_hdf5() : type_to_hdf5(numbers.dtype());
  const Hdf5Id creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, kFailed);
  require(H5Pset_obj_track_times(creation.get(), false));
  const Hdf5Id made(H5Dcreate2(file_->file.get(), path.c_str(), type.get(), space.get(),
                               file_->with_parents.get(), creation.get(), H5P_DEFAULT),
                    H5Dclose, kFailed);
  if (numbers.size() > 0) {
    require(H5Dwrite(made.get(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, numbers.raw()));
  }
  if (numbers.dtype() == Dtype::bf16) text(path, "dtype", "bfloat16");
}

std::string_view Hdf5Writer::finish() {
  const Hdf5Lock lock;
  require(H5Fflush(file_->file.get(), H5F_SCOPE_GLOBAL));
  hsize_t bytes = 0;
  require(H5Fget_filesize(file_->file.get(), &bytes));
  file_->file = Hdf5Id();
  return {static_cast<const char*>(file_->image.start), bytes};
}

}  // namespace grouphead::io
