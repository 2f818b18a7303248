#include "base/dtype.hpp"

#include <array>

#include "base/error.hpp"

namespace osler {
namespace {

struct Entry {
  DType dtype;
  std::string_view name;
  std::size_t size_bytes;
};

constexpr std::array kEntries{
    Entry{DType::bf16, "bf16", 2}, Entry{DType::fp16, "fp16", 2}, Entry{DType::fp32, "fp32", 4},
    Entry{DType::fp64, "fp64", 8}, Entry{DType::u8, "u8", 1},     Entry{DType::u16, "u16", 2},
    Entry{DType::u32, "u32", 4},   Entry{DType::u64, "u64", 8},   Entry{DType::i64, "i64", 8},
};

const Entry& entry_of(DType dtype) {
  for (const Entry& entry : kEntries)
    if (entry.dtype == dtype) return entry;
  throw InternalError("element type ", static_cast<int>(dtype), " is not in the table of base/dtype.cpp");
}

}  // namespace

std::size_t size_bytes(DType dtype) {
  return entry_of(dtype).size_bytes;
}

std::string_view name_of(DType dtype) {
  return entry_of(dtype).name;
}

DType dtype_from_name(std::string_view name) {
  std::string known;
  for (const Entry& entry : kEntries) {
    if (entry.name == name) return entry.dtype;
    known += (known.empty() ? "" : ", ") + std::string(entry.name);
  }
  throw DataError("element type '", name, "' is unknown; known are ", known);
}

}  // namespace osler
