#include "store/library_version.hpp"

#include <hdf5.h>

#include "base/text_of.hpp"

namespace osler::store {

std::string hdf5_version() {
  unsigned major = 0;
  unsigned minor = 0;
  unsigned release = 0;
  H5get_libversion(&major, &minor, &release);
  return text_of(major, ".", minor, ".", release);
}

}  // namespace osler::store
