#include "text/byte_stream.hpp"

#include <fcntl.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "base/error.hpp"

namespace osler::text {
namespace {

constexpr std::size_t kArchiveBufferBytes = 256 * 1024;

/// Letter case does not count.
bool ends_with(const std::string& text, const char* suffix) {
  const std::size_t length = std::strlen(suffix);
  return text.size() >= length && strcasecmp(text.c_str() + text.size() - length, suffix) == 0;
}

class PlainStream : public ByteStream {
 public:
  PlainStream(const std::string& path, std::uint64_t begin)
      : path_(path), fd_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (fd_ < 0) throw StorageError("cannot open ", path, ": ", std::strerror(errno));
    struct stat status {};
    if (fstat(fd_, &status) == 0 && S_ISDIR(status.st_mode)) {
      close(fd_);
      throw StorageError("cannot read ", path, ": it is a folder");
    }
    if (begin > 0 && lseek(fd_, static_cast<off_t>(begin), SEEK_SET) < 0) {
      const int reason = errno;
      close(fd_);
      throw StorageError("cannot seek in ", path, ": ", std::strerror(reason));
    }
  }
  ~PlainStream() override { close(fd_); }

  std::size_t read(char* out, std::size_t capacity) override {
    while (true) {
      const ssize_t count = ::read(fd_, out, capacity);
      if (count >= 0) return static_cast<std::size_t>(count);
      if (errno != EINTR) throw StorageError("cannot read ", path_, ": ", std::strerror(errno));
    }
  }

 private:
  std::string path_;
  int fd_;
};

class GzipStream : public ByteStream {
 public:
  explicit GzipStream(const std::string& path) : file_(path, 0), input_(kArchiveBufferBytes) {
    if (inflateInit2(&state_, 15 + 16) != Z_OK) throw InternalError("zlib does not start");  // 15 + 16: gzip only
  }
  ~GzipStream() override { inflateEnd(&state_); }

  std::size_t read(char* out, std::size_t capacity) override {
    state_.next_out = reinterpret_cast<Bytef*>(out);
    state_.avail_out = static_cast<uInt>(std::min<std::size_t>(capacity, 1U << 30));
    const uInt asked = state_.avail_out;
    while (state_.avail_out == asked) {
      if (state_.avail_in == 0) refill();
      if (state_.avail_in == 0) {
        if (inside_member_) throw CorruptArchive("the gzip data end too early");
        return 0;
      }
      inside_member_ = true;
      const int result = inflate(&state_, Z_NO_FLUSH);
      if (result == Z_STREAM_END) {
        inside_member_ = false;
        if (inflateReset(&state_) != Z_OK) throw InternalError("zlib does not restart");
        if (asked != state_.avail_out) break;
      } else if (result != Z_OK && result != Z_BUF_ERROR) {
        throw CorruptArchive("the gzip data are damaged");
      }
    }
    return asked - state_.avail_out;
  }

 private:
  void refill() {
    state_.next_in = reinterpret_cast<Bytef*>(input_.data());
    state_.avail_in = static_cast<uInt>(file_.read(input_.data(), input_.size()));
  }

  PlainStream file_;
  std::vector<char> input_;
  z_stream state_{};
  bool inside_member_ = true;  // an empty file is not a gzip file
};

class ZstdStream : public ByteStream {
 public:
  explicit ZstdStream(const std::string& path)
      : file_(path, 0), input_(kArchiveBufferBytes), state_(ZSTD_createDStream()) {
    if (state_ == nullptr) throw InternalError("zstd does not start");
  }
  ~ZstdStream() override { ZSTD_freeDStream(state_); }

  std::size_t read(char* out, std::size_t capacity) override {
    ZSTD_outBuffer output{out, capacity, 0};
    while (output.pos == 0) {
      if (source_.pos == source_.size && !flushing_) {
        source_ = {input_.data(), file_.read(input_.data(), input_.size()), 0};
        if (source_.size == 0) {
          if (inside_frame_) throw CorruptArchive("the zstd data end too early");
          return 0;
        }
      }
      const std::size_t result = ZSTD_decompressStream(state_, &output, &source_);
      if (ZSTD_isError(result))
        throw CorruptArchive(std::string("the zstd data are damaged: ") + ZSTD_getErrorName(result));
      inside_frame_ = result != 0;
      flushing_ = output.pos == output.size && inside_frame_;  // more may wait inside the decoder
    }
    return output.pos;
  }

 private:
  PlainStream file_;
  std::vector<char> input_;
  ZSTD_DStream* state_;
  ZSTD_inBuffer source_{nullptr, 0, 0};
  bool inside_frame_ = true;  // an empty file is not a zstd file
  bool flushing_ = false;
};

}  // namespace

bool is_compressed(const std::string& path) {
  return ends_with(path, ".gz") || ends_with(path, ".zst");
}

std::unique_ptr<ByteStream> open_byte_stream(const std::string& path, std::uint64_t begin) {
  OSLER_CHECK(begin == 0 || !is_compressed(path), path);
  if (ends_with(path, ".gz")) return std::make_unique<GzipStream>(path);
  if (ends_with(path, ".zst")) return std::make_unique<ZstdStream>(path);
  return std::make_unique<PlainStream>(path, begin);
}

}  // namespace osler::text
