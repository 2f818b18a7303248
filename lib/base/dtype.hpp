// Element types as they appear in files and options, with their sizes. No torch here; comm/torch_dtype.hpp maps them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace osler {

enum class DType : std::uint8_t { bf16, fp16, fp32, fp64, u8, u16, u32, u64, i64 };

std::size_t size_bytes(DType dtype);
std::string_view name_of(DType dtype);  // "bf16", "fp32", ...
/// Throws DataError on an unknown name.
DType dtype_from_name(std::string_view name);

}  // namespace osler
