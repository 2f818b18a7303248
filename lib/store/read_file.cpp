#include <algorithm>

#include "base/error.hpp"
#include "store/hdf5_file.hpp"
#include "store/hdf5_handle.hpp"
#include "store/region_file.hpp"

namespace osler::store {
namespace {

// More than any file of ours has; a hostile one must not cost unbounded work.
constexpr int kMaxDepth = 16;
constexpr std::size_t kMaxObjects = 4'000'000;
constexpr hsize_t kMaxAttributeElements = 8192;

Attribute read_attribute(hid_t id, const std::string& where) {
  const Handle type(H5Aget_type(id), H5Tclose);
  const Handle space(H5Aget_space(id), H5Sclose);
  const hssize_t count = H5Sget_simple_extent_npoints(space.get());
  const bool scalar = H5Sget_simple_extent_type(space.get()) == H5S_SCALAR;
  if (count < 0 || static_cast<hsize_t>(count) > kMaxAttributeElements) throw DataError(where, " has a bad size");
  bool ok = false;
  Attribute value;
  switch (H5Tget_class(type.get())) {
    case H5T_INTEGER: {
      std::vector<std::int64_t> numbers(static_cast<std::size_t>(count));
      ok = count == 0 || H5Aread(id, H5T_NATIVE_INT64, numbers.data()) >= 0;
      if (scalar && ok)
        value = numbers.at(0);
      else
        value = std::move(numbers);
      break;
    }
    case H5T_FLOAT: {
      double number = 0;
      ok = scalar && H5Aread(id, H5T_NATIVE_DOUBLE, &number) >= 0;
      value = number;
      break;
    }
    case H5T_STRING: {
      if (!scalar || H5Tis_variable_str(type.get()) != 0) break;
      std::string text(H5Tget_size(type.get()), '\0');
      ok = H5Aread(id, type.get(), text.data()) >= 0;
      text.resize(text.find_last_not_of('\0') + 1);
      value = std::move(text);
      break;
    }
    default:
      break;
  }
  if (!ok) throw DataError(where, " is of a kind that no file of ours has");
  return value;
}

Attributes read_attributes(hid_t object, const std::string& where) {
  struct Collect {
    std::vector<std::string> names;
  } collect;
  const auto keep = [](hid_t, const char* name, const H5A_info_t*, void* into) -> herr_t {
    static_cast<Collect*>(into)->names.emplace_back(name);
    return 0;
  };
  if (H5Aiterate2(object, H5_INDEX_NAME, H5_ITER_NATIVE, nullptr, keep, &collect) < 0)
    throw DataError(where, ": attributes cannot be read; ", library_message());
  Attributes attributes;
  for (const std::string& name : collect.names) {
    const std::string full = text_of(where, " attribute '", name, "'");
    const Handle attribute(H5Aopen(object, name.c_str(), H5P_DEFAULT), H5Aclose);
    if (!attribute.valid()) throw DataError(full, " cannot be opened; ", library_message());
    attributes[name] = read_attribute(attribute.get(), full);
  }
  return attributes;
}

struct TextInfo {
  std::uint64_t file_offset = 0;
  std::uint64_t num_bytes = 0;
};

/// Contiguous, unfiltered, inside the file: all that we ever write.
void check_storage(hid_t dataset, const std::string& where) {
  const Handle properties(H5Dget_create_plist(dataset), H5Pclose);
  if (!properties.valid()) throw DataError(where, ": ", library_message());
  if (H5Pget_layout(properties.get()) != H5D_CONTIGUOUS)
    throw DataError(where,
                    " is not contiguous (chunked, compact or virtual): not a file of ours; repack it with "
                    "h5repack -l CONTI, or open index.h5's sources instead");
  if (H5Pget_nfilters(properties.get()) != 0) throw DataError(where, " has filters: not a file of ours");
  if (H5Pget_external_count(properties.get()) != 0) throw DataError(where, " lies in another file: refused");
}

}  // namespace

struct ReadFile::Impl {
  RegionFile bytes;
  std::vector<DatasetInfo> datasets;
  std::map<std::string, std::size_t> index;
  std::map<std::string, TextInfo> texts;
  Attributes attributes;
  std::size_t num_objects = 0;

  explicit Impl(const std::string& path) : bytes(path) {
    prepare_library();
    const Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
    H5Pset_file_locking(access.get(), false, true);  // network file systems without locks; we never write in place
    Handle file(H5Fopen(path.c_str(), H5F_ACC_RDONLY, access.get()), H5Fclose);
    if (!file.valid()) throw DataError(path, " is not a readable HDF5 file; ", library_message());
    attributes = read_attributes(file.get(), path);
    walk(file.get(), "", 0);
    std::sort(datasets.begin(), datasets.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
    for (std::size_t i = 0; i < datasets.size(); ++i) index[datasets[i].name] = i;
  }

  std::string where(const std::string& name) const { return text_of(bytes.path(), " '", name, "'"); }

  void walk(hid_t group, const std::string& prefix, int depth) {
    if (depth > kMaxDepth) throw DataError(where(prefix), ": groups are nested too deeply");
    struct Found {
      std::vector<std::pair<std::string, H5L_type_t>> links;
    } found;
    const auto keep = [](hid_t, const char* name, const H5L_info_t* info, void* into) -> herr_t {
      static_cast<Found*>(into)->links.emplace_back(name, info->type);
      return 0;
    };
    if (H5Literate(group, H5_INDEX_NAME, H5_ITER_NATIVE, nullptr, keep, &found) < 0)
      throw DataError(where(prefix), " cannot be listed; ", library_message());
    for (const auto& [name, link] : found.links) {
      const std::string full = prefix.empty() ? name : prefix + "/" + name;
      if (++num_objects > kMaxObjects) throw DataError(bytes.path(), " holds too many objects");
      if (link != H5L_TYPE_HARD) throw DataError(where(full), " is a soft or external link: refused");
      const Handle object(H5Oopen(group, name.c_str(), H5P_DEFAULT), H5Oclose);
      if (!object.valid()) throw DataError(where(full), " cannot be opened; ", library_message());
      switch (H5Iget_type(object.get())) {
        case H5I_GROUP:
          walk(object.get(), full, depth + 1);
          break;
        case H5I_DATASET:
          add_dataset(object.get(), full);
          break;
        default:
          throw DataError(where(full), " is neither group nor dataset: not a file of ours");
      }
    }
  }

  void add_dataset(hid_t dataset, const std::string& name) {
    check_storage(dataset, where(name));
    const Handle type(H5Dget_type(dataset), H5Tclose);
    const Handle space(H5Dget_space(dataset), H5Sclose);
    const int rank = H5Sget_simple_extent_ndims(space.get());
    if (rank < 0 || H5Sget_simple_extent_type(space.get()) == H5S_NULL) throw DataError(where(name), " has no shape");
    std::vector<hsize_t> sizes(static_cast<std::size_t>(rank));
    H5Sget_simple_extent_dims(space.get(), sizes.data(), nullptr);
    const haddr_t offset = H5Dget_offset(dataset);
    const std::uint64_t start = offset == HADDR_UNDEF ? 0 : offset;

    if (H5Tget_class(type.get()) == H5T_STRING) {
      if (rank != 0 || H5Tis_variable_str(type.get()) != 0)
        throw DataError(where(name), " is not a scalar text of fixed length");
      const std::uint64_t length = H5Tget_size(type.get());
      check_inside(name, offset, start, length);
      texts[name] = {start, length};
      return;
    }
    const std::optional<DType> dtype = dtype_of_file_type(type.get());
    if (!dtype) throw DataError(where(name), " has an element type that no file of ours has");
    DatasetInfo info{.name = name, .dtype = *dtype, .shape = {sizes.begin(), sizes.end()}, .file_offset = start};
    info.num_bytes = size_bytes(*dtype);
    for (const hsize_t size : sizes) {
      if (size != 0 && info.num_bytes > bytes.size() / size)
        throw DataError(where(name), " claims more bytes than the file has: truncated or damaged");
      info.num_bytes *= size;
    }
    check_inside(name, offset, start, info.num_bytes);
    info.attributes = read_attributes(dataset, where(name));
    datasets.push_back(std::move(info));
  }

  void check_inside(const std::string& name, haddr_t offset, std::uint64_t start, std::uint64_t count) const {
    if (count == 0) return;
    if (offset == HADDR_UNDEF) throw DataError(where(name), " was never written");
    if (start > bytes.size() || count > bytes.size() - start)
      throw DataError(where(name), " reaches beyond the end of the file: truncated or damaged");
  }
};

ReadFile::ReadFile(const std::string& path) : impl_(std::make_unique<Impl>(path)) {}
ReadFile::~ReadFile() = default;
ReadFile::ReadFile(ReadFile&&) noexcept = default;
const std::string& ReadFile::path() const {
  return impl_->bytes.path();
}
const std::vector<DatasetInfo>& ReadFile::datasets() const {
  return impl_->datasets;
}
bool ReadFile::contains(const std::string& name) const {
  return impl_->index.count(name) > 0;
}
const Attributes& ReadFile::attributes() const {
  return impl_->attributes;
}

const DatasetInfo& ReadFile::dataset(const std::string& name) const {
  const auto found = impl_->index.find(name);
  if (found == impl_->index.end()) throw DataError(path(), " has no dataset '", name, "'");
  return impl_->datasets[found->second];
}

std::string ReadFile::read_text(const std::string& name) const {
  const auto found = impl_->texts.find(name);
  if (found == impl_->texts.end()) throw DataError(path(), " has no text '", name, "'");
  std::string text(found->second.num_bytes, '\0');
  impl_->bytes.read(found->second.file_offset, std::as_writable_bytes(std::span(text)));
  text.resize(text.find_last_not_of('\0') + 1);
  return text;
}

void ReadFile::read(const std::string& name, const std::vector<std::int64_t>& offset,
                    const std::vector<std::int64_t>& extent, std::span<std::byte> out) const {
  const DatasetInfo& info = dataset(name);
  impl_->bytes.read_region(info.file_offset, size_bytes(info.dtype), {info.shape, offset, extent}, out);
}

}  // namespace osler::store
