// What every source of this module needs of the HDF5 C API: handles that close themselves, errors with the library's
// innermost message, our element types. The only header that sees <hdf5.h>. Local.
#pragma once

#include <hdf5.h>

#include <optional>
#include <string>
#include <utility>

#include "base/dtype.hpp"

namespace osler::store {

/// Owns one HDF5 identifier.
class Handle {
 public:
  Handle() = default;
  Handle(hid_t id, herr_t (*close)(hid_t)) : id_(id), close_(close) {}
  ~Handle() { reset(); }
  Handle(Handle&& other) noexcept : id_(std::exchange(other.id_, -1)), close_(other.close_) {}
  Handle& operator=(Handle&& other) noexcept {
    std::swap(id_, other.id_);
    std::swap(close_, other.close_);
    return *this;
  }
  hid_t get() const { return id_; }
  bool valid() const { return id_ >= 0; }
  /// Closes now; negative when the library reports a failure.
  herr_t reset() {
    const hid_t id = std::exchange(id_, -1);
    return id >= 0 ? close_(id) : 0;
  }

 private:
  hid_t id_ = -1;
  herr_t (*close_)(hid_t) = nullptr;
};

/// Silences the library's own printing and forbids dynamic plugins, once.
void prepare_library();
/// The innermost message of the error stack, for our own error text.
std::string library_message();

Handle file_type_of(DType dtype);                     ///< little endian
std::optional<DType> dtype_of_file_type(hid_t type);  ///< none when it is not one of ours

}  // namespace osler::store
