#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "base/error.hpp"
#include "store/hdf5_file.hpp"
#include "store/hdf5_handle.hpp"

namespace osler::store {
namespace {

constexpr std::size_t kGrowBytes = 1 << 20;
// Room for one object's header, its link and its attributes, so that all metadata stands before the first dataset and
// the library never has to touch the pages in between (its core driver clears whatever it grows over).
constexpr std::size_t kMetadataBytesPerObject = 2048;
constexpr std::size_t kMaxAttributeBytes = 60 * 1024;  // the old file format ends at 64 KB
constexpr std::size_t kEndOfFileInSuperblock = 40;     // version 0: where the file's end is noted

/// Memory under the image: zero pages from the kernel, so that no stray bytes of this process reach a file.
class Pages {
 public:
  ~Pages() {
    if (data_ != nullptr) ::munmap(data_, size_);
  }
  void* resize(std::size_t size) {
    void* moved = data_ == nullptr ? ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
                                   : ::mremap(data_, size_, size, MREMAP_MAYMOVE);
    if (moved == MAP_FAILED) return nullptr;
    data_ = static_cast<std::byte*>(moved);
    size_ = size;
    return data_;
  }
  std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }

 private:
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

// The core driver keeps its file in memory of ours and leaves it there when it closes: no second copy.
void* pages_malloc(size_t size, H5FD_file_image_op_t, void* pages) {
  return static_cast<Pages*>(pages)->resize(size);
}
void* pages_realloc(void*, size_t size, H5FD_file_image_op_t, void* pages) {
  auto* own = static_cast<Pages*>(pages);
  return size <= own->size() ? own->data() : own->resize(size);
}
void* pages_memcpy(void* to, const void* from, size_t size, H5FD_file_image_op_t, void*) {
  return std::memcpy(to, from, size);
}
herr_t pages_free(void*, H5FD_file_image_op_t, void*) {
  return 0;
}
void* same_pages(void* pages) {
  return pages;
}
herr_t keep_pages(void*) {
  return 0;
}

std::vector<hsize_t> sizes_of(const std::vector<std::int64_t>& values) {
  return {values.begin(), values.end()};
}

Handle space_of(const std::vector<std::int64_t>& shape) {
  const std::vector<hsize_t> sizes = sizes_of(shape);
  const hid_t id =
      shape.empty() ? H5Screate(H5S_SCALAR) : H5Screate_simple(static_cast<int>(sizes.size()), sizes.data(), nullptr);
  return Handle(id, H5Sclose);
}

Handle text_type(std::size_t length) {
  Handle type(H5Tcopy(H5T_C_S1), H5Tclose);
  H5Tset_size(type.get(), std::max<std::size_t>(length, 1));
  H5Tset_strpad(type.get(), H5T_STR_NULLPAD);
  H5Tset_cset(type.get(), H5T_CSET_UTF8);
  return type;
}

struct DatasetPlan {
  std::string name;
  DType dtype = DType::u8;
  std::vector<std::int64_t> shape;
  Attributes attributes;
  std::optional<std::string> text;
  std::vector<VirtualPiece> pieces;
  bool is_virtual = false;
};

struct AttributeWriter {
  hid_t object;
  const std::string& name;

  void write(hid_t type, const std::vector<std::int64_t>& shape, hid_t memory_type, const void* value) const {
    const Handle space = space_of(shape);
    const Handle attribute(H5Acreate2(object, name.c_str(), type, space.get(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
    const bool ok = attribute.valid() && (value == nullptr || H5Awrite(attribute.get(), memory_type, value) >= 0);
    OSLER_CHECK(ok, "attribute ", name, ": ", library_message());
  }
  void operator()(std::int64_t value) const { write(H5T_STD_I64LE, {}, H5T_NATIVE_INT64, &value); }
  void operator()(double value) const { write(H5T_IEEE_F64LE, {}, H5T_NATIVE_DOUBLE, &value); }
  void operator()(const std::string& value) const {
    OSLER_CHECK(value.size() <= kMaxAttributeBytes, "attribute ", name, " is too long: store it as a text dataset");
    const Handle type = text_type(value.size());
    write(type.get(), {}, type.get(), value.c_str());
  }
  void operator()(const std::vector<std::int64_t>& value) const {
    write(H5T_STD_I64LE, {static_cast<std::int64_t>(value.size())}, H5T_NATIVE_INT64,
          value.empty() ? nullptr : value.data());
  }
};

void write_attributes(hid_t object, const Attributes& attributes) {
  for (const auto& [name, value] : attributes) std::visit(AttributeWriter{object, name}, value);
}

Handle creation_properties(const DatasetPlan& plan) {
  Handle properties(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  H5Pset_obj_track_times(properties.get(), false);
  if (plan.is_virtual) {
    const Handle whole = space_of(plan.shape);
    for (const VirtualPiece& piece : plan.pieces) {
      const Handle source = space_of(piece.extent);
      if (!plan.shape.empty()) {
        H5Sselect_hyperslab(whole.get(), H5S_SELECT_SET, sizes_of(piece.offset).data(), nullptr,
                            sizes_of(piece.extent).data(), nullptr);
      }
      const bool ok =
          H5Pset_virtual(properties.get(), whole.get(), piece.file.c_str(), piece.dataset.c_str(), source.get()) >= 0;
      OSLER_CHECK(ok, plan.name, ": ", library_message());
    }
    return properties;
  }
  H5Pset_layout(properties.get(), H5D_CONTIGUOUS);
  H5Pset_alloc_time(properties.get(), H5D_ALLOC_TIME_EARLY);
  H5Pset_fill_time(properties.get(), H5D_FILL_TIME_NEVER);
  return properties;
}

std::uint64_t num_bytes_of(const DatasetPlan& plan) {
  if (plan.text) return std::max<std::size_t>(plan.text->size(), 1);
  std::uint64_t count = size_bytes(plan.dtype);
  for (const std::int64_t size : plan.shape) count *= static_cast<std::uint64_t>(size);
  return count;
}

}  // namespace

struct Image::Impl {
  Pages pages;
  std::vector<DatasetPlan> plans;
  std::set<std::string> names;
  std::map<std::string, Attributes> groups;
  std::map<std::string, std::pair<std::uint64_t, std::uint64_t>> place_of;  // name -> offset, bytes; texts too
  std::vector<Placement> placements;
  std::uint64_t file_bytes = 0;
  bool sealed = false;

  void add(DatasetPlan plan) {
    OSLER_CHECK(!sealed, "declared after seal: ", plan.name);
    OSLER_CHECK(!plan.name.empty() && plan.name.front() != '/', plan.name);
    OSLER_CHECK(names.insert(plan.name).second, "declared twice: ", plan.name);
    plans.push_back(std::move(plan));
  }

  Handle create_file() {
    prepare_library();
    const Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
    H5FD_file_image_callbacks_t callbacks{pages_malloc, pages_memcpy, pages_realloc, pages_free,
                                          same_pages,   keep_pages,   &pages};
    const std::size_t metadata = kMetadataBytesPerObject * (plans.size() + groups.size() + 8);
    bool ok = H5Pset_file_image_callbacks(access.get(), &callbacks) >= 0;
    ok = ok && H5Pset_fapl_core(access.get(), kGrowBytes, false) >= 0;
    ok = ok && H5Pset_meta_block_size(access.get(), metadata) >= 0;
    Handle file(ok ? H5Fcreate("image.h5", H5F_ACC_TRUNC, H5P_DEFAULT, access.get()) : -1, H5Fclose);
    OSLER_CHECK(file.valid(), library_message());
    return file;
  }

  void create_dataset(hid_t file, const DatasetPlan& plan) {
    const Handle links(H5Pcreate(H5P_LINK_CREATE), H5Pclose);
    H5Pset_create_intermediate_group(links.get(), 1);
    const Handle type = plan.text ? text_type(plan.text->size()) : file_type_of(plan.dtype);
    const Handle space = space_of(plan.shape);
    const Handle properties = creation_properties(plan);
    const Handle dataset(
        H5Dcreate2(file, plan.name.c_str(), type.get(), space.get(), links.get(), properties.get(), H5P_DEFAULT),
        H5Dclose);
    OSLER_CHECK(dataset.valid(), plan.name, ": ", library_message());
    write_attributes(dataset.get(), plan.attributes);
    if (plan.is_virtual) return;
    const haddr_t offset = H5Dget_offset(dataset.get());
    const std::uint64_t count = num_bytes_of(plan);
    OSLER_CHECK(count == 0 || offset != HADDR_UNDEF, plan.name, " has no place in the image");
    place_of[plan.name] = {count == 0 ? 0 : offset, count};
    if (!plan.text) placements.push_back({plan.name, count == 0 ? 0 : offset, count});
  }

  void create_groups(hid_t file) {
    for (const auto& [name, attributes] : groups) {
      const Handle links(H5Pcreate(H5P_LINK_CREATE), H5Pclose);
      H5Pset_create_intermediate_group(links.get(), 1);
      const bool known = name.empty() || H5Lexists(file, name.c_str(), H5P_DEFAULT) > 0;
      const Handle group(known ? H5Gopen2(file, name.empty() ? "/" : name.c_str(), H5P_DEFAULT)
                               : H5Gcreate2(file, name.c_str(), links.get(), H5P_DEFAULT, H5P_DEFAULT),
                         H5Gclose);
      OSLER_CHECK(group.valid(), "group ", name, ": ", library_message());
      write_attributes(group.get(), attributes);
    }
  }

  void finish_bytes() {
    std::memcpy(&file_bytes, pages.data() + kEndOfFileInSuperblock, sizeof(file_bytes));
    for (const auto& [name, place] : place_of)
      OSLER_CHECK(place.first + place.second <= file_bytes, name, " lies beyond the end of the image, ", file_bytes);
    if (file_bytes > pages.size()) {
      if (pages.resize(file_bytes) == nullptr)
        throw StorageError("no memory for a file image of ", file_bytes, " bytes");
    }
    for (const DatasetPlan& plan : plans)
      if (plan.text) std::memcpy(pages.data() + place_of.at(plan.name).first, plan.text->data(), plan.text->size());
    std::sort(placements.begin(), placements.end(), [](const auto& a, const auto& b) { return a.offset < b.offset; });
  }
};

Image::Image() : impl_(std::make_unique<Impl>()) {}
Image::~Image() = default;
Image::Image(Image&&) noexcept = default;
Image& Image::operator=(Image&&) noexcept = default;

void Image::declare(const std::string& name, DType dtype, const std::vector<std::int64_t>& shape,
                    const Attributes& attributes) {
  impl_->add({.name = name, .dtype = dtype, .shape = shape, .attributes = attributes});
}

void Image::declare_text(const std::string& name, const std::string& text) {
  impl_->add({.name = name, .text = text});
}

void Image::declare_virtual(const std::string& name, DType dtype, const std::vector<std::int64_t>& shape,
                            const std::vector<VirtualPiece>& pieces) {
  impl_->add({.name = name, .dtype = dtype, .shape = shape, .pieces = pieces, .is_virtual = true});
}

void Image::set_attributes(const std::string& group_name, const Attributes& attributes) {
  OSLER_CHECK(!impl_->sealed, group_name);
  for (const auto& [name, value] : attributes) impl_->groups[group_name][name] = value;
}

void Image::seal() {
  OSLER_CHECK(!impl_->sealed, "an image is sealed once");
  Handle file = impl_->create_file();
  for (const DatasetPlan& plan : impl_->plans) impl_->create_dataset(file.get(), plan);
  impl_->create_groups(file.get());
  OSLER_CHECK(file.reset() >= 0, library_message());
  impl_->finish_bytes();
  impl_->sealed = true;
}

std::span<std::byte> Image::bytes_of(const std::string& name) {
  OSLER_CHECK(impl_->sealed, name);
  const auto place = impl_->place_of.find(name);
  OSLER_CHECK(place != impl_->place_of.end(), "no dataset ", name);
  return {impl_->pages.data() + place->second.first, place->second.second};
}

std::span<const std::byte> Image::bytes() const {
  OSLER_CHECK(impl_->sealed, "bytes of an unsealed image");
  return {impl_->pages.data(), impl_->file_bytes};
}

const std::vector<Image::Placement>& Image::placements() const {
  OSLER_CHECK(impl_->sealed, "placements of an unsealed image");
  return impl_->placements;
}

void Image::release(std::uint64_t begin, std::uint64_t end) {
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  const std::uint64_t first = (begin + page - 1) / page * page;
  const std::uint64_t last = end / page * page;
  if (first < last) ::madvise(impl_->pages.data() + first, last - first, MADV_DONTNEED);
}

}  // namespace osler::store
