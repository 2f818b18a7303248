#include "comm/torch_dtype.hpp"

#include "base/error.hpp"

namespace osler::comm {

c10::ScalarType scalar_type_of(DType dtype) {
  switch (dtype) {
    case DType::bf16:
      return c10::ScalarType::BFloat16;
    case DType::fp16:
      return c10::ScalarType::Half;
    case DType::fp32:
      return c10::ScalarType::Float;
    case DType::fp64:
      return c10::ScalarType::Double;
    case DType::u8:
      return c10::ScalarType::Byte;
    case DType::u16:
      return c10::ScalarType::UInt16;
    case DType::u32:
      return c10::ScalarType::UInt32;
    case DType::u64:
      return c10::ScalarType::UInt64;
    case DType::i64:
      return c10::ScalarType::Long;
  }
  throw InternalError("no torch type for element type ", static_cast<int>(dtype));
}

DType dtype_of(c10::ScalarType type) {
  switch (type) {
    case c10::ScalarType::BFloat16:
      return DType::bf16;
    case c10::ScalarType::Half:
      return DType::fp16;
    case c10::ScalarType::Float:
      return DType::fp32;
    case c10::ScalarType::Double:
      return DType::fp64;
    case c10::ScalarType::Byte:
      return DType::u8;
    case c10::ScalarType::UInt16:
      return DType::u16;
    case c10::ScalarType::UInt32:
      return DType::u32;
    case c10::ScalarType::UInt64:
      return DType::u64;
    case c10::ScalarType::Long:
      return DType::i64;
    default:
      throw InternalError("no element type of ours for torch type ", c10::toString(type));
  }
}

}  // namespace osler::comm
