#include "text/line_reader.hpp"

#include <cstring>
#include <utility>

namespace osler::text {

LineReader::LineReader(std::unique_ptr<ByteStream> stream, std::size_t max_line_bytes)
    : stream_(std::move(stream)), max_line_bytes_(max_line_bytes), buffer_(std::size_t{1} << 20) {}

bool LineReader::refill() {
  begin_ = 0;
  end_ = stream_->read(buffer_.data(), buffer_.size());
  return end_ > 0;
}

LineReader::Status LineReader::next(std::string& line) {
  line.clear();
  bool too_long = false;
  bool any = false;
  while (begin_ < end_ || refill()) {
    any = true;
    const char* start = buffer_.data() + begin_;
    const void* newline = std::memchr(start, '\n', end_ - begin_);
    const std::size_t length =
        newline != nullptr ? static_cast<std::size_t>(static_cast<const char*>(newline) - start) : end_ - begin_;
    if (line.size() + length > max_line_bytes_) too_long = true;
    if (too_long) {
      line.clear();
    } else {
      line.append(start, length);
    }
    const std::size_t consumed = length + (newline != nullptr ? 1 : 0);
    begin_ += consumed;
    offset_ += consumed;
    if (newline != nullptr) break;
  }
  if (!any) return Status::end;
  return too_long ? Status::too_long : Status::line;
}

}  // namespace osler::text
