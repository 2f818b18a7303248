#include "data/mapped_file.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.hpp"

namespace osler::data {

MappedFile::MappedFile(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) throw StorageError("cannot open ", path, ": ", std::strerror(errno));
  struct stat status {};
  const bool known = fstat(fd, &status) == 0;
  void* address = MAP_FAILED;
  if (known && status.st_size > 0) {
    address = mmap(nullptr, static_cast<std::size_t>(status.st_size), PROT_READ, MAP_SHARED, fd, 0);
  }
  const int reason = errno;
  close(fd);
  if (known && status.st_size == 0) return;
  if (address == MAP_FAILED) throw StorageError("cannot map ", path, ": ", std::strerror(reason));
  data_ = static_cast<const std::byte*>(address);
  size_ = static_cast<std::uint64_t>(status.st_size);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(const_cast<std::byte*>(data_), size_);
}

}  // namespace osler::data
