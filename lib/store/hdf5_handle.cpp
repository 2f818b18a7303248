#include "store/hdf5_handle.hpp"

#include <array>
#include <bit>

#include "base/error.hpp"

namespace osler::store {
namespace {

static_assert(std::endian::native == std::endian::little, "files are little endian and mapped as they are");

herr_t keep_innermost(unsigned n, const H5E_error2_t* entry, void* text) {
  if (n == 0 && entry->desc != nullptr) *static_cast<std::string*>(text) = entry->desc;
  return 0;
}

/// 16-bit floats: HDF5 1.10 has no predefined one, but reads and writes any layout of fields; h5py shows float32/16.
Handle half_type(std::size_t exponent_bits, std::size_t mantissa_bits, std::size_t bias) {
  Handle type(H5Tcopy(H5T_IEEE_F32LE), H5Tclose);
  const bool ok = H5Tset_fields(type.get(), 15, mantissa_bits, exponent_bits, 0, mantissa_bits) >= 0 &&
                  H5Tset_size(type.get(), 2) >= 0 && H5Tset_ebias(type.get(), bias) >= 0;
  OSLER_CHECK(ok, library_message());
  return type;
}

Handle copy_of(hid_t predefined) {
  return Handle(H5Tcopy(predefined), H5Tclose);
}

}  // namespace

void prepare_library() {
  static const bool once = [] {
    H5open();
    H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
    H5PLset_loading_state(0);
    return true;
  }();
  (void)once;
}

std::string library_message() {
  std::string text = "no message";
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_innermost, &text);
  return "HDF5 says: " + text;
}

Handle file_type_of(DType dtype) {
  switch (dtype) {
    case DType::bf16:
      return half_type(8, 7, 127);
    case DType::fp16:
      return half_type(5, 10, 15);
    case DType::fp32:
      return copy_of(H5T_IEEE_F32LE);
    case DType::fp64:
      return copy_of(H5T_IEEE_F64LE);
    case DType::u8:
      return copy_of(H5T_STD_U8LE);
    case DType::u16:
      return copy_of(H5T_STD_U16LE);
    case DType::u32:
      return copy_of(H5T_STD_U32LE);
    case DType::u64:
      return copy_of(H5T_STD_U64LE);
    case DType::i64:
      return copy_of(H5T_STD_I64LE);
  }
  throw InternalError("no HDF5 type for dtype ", static_cast<int>(dtype));
}

std::optional<DType> dtype_of_file_type(hid_t type) {
  constexpr std::array kAll = {DType::bf16, DType::fp16, DType::fp32, DType::fp64, DType::u8,
                               DType::u16,  DType::u32,  DType::u64,  DType::i64};
  for (const DType dtype : kAll)
    if (H5Tequal(type, file_type_of(dtype).get()) > 0) return dtype;
  return std::nullopt;
}

}  // namespace osler::store
