// The two spellings of an element type: ours in files and options, torch's in memory.
#pragma once

#include <c10/core/ScalarType.h>

#include "base/dtype.hpp"

namespace osler::comm {

c10::ScalarType scalar_type_of(DType dtype);  ///< throws InternalError when torch has none
DType dtype_of(c10::ScalarType type);         ///< throws InternalError when files have none

}  // namespace osler::comm
