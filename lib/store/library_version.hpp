// Which HDF5 this program runs with. Local.
#pragma once

#include <string>

namespace osler::store {

std::string hdf5_version();  ///< of the library that is loaded, e.g. "1.10.8"

}  // namespace osler::store
