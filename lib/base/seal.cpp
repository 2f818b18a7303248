#include "base/seal.hpp"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

#include "base/error.hpp"
#include "base/sha256.hpp"

namespace osler {
namespace {

constexpr const char* kMark = "osler-sha256 ";
constexpr std::size_t kBlockBytes = std::size_t{1} << 20;

}  // namespace

std::string seal_of(const std::string& sha256_hex) {
  std::string seal = kMark + sha256_hex + "\n";
  OSLER_CHECK(seal.size() == kSealBytes, sha256_hex);
  return seal;
}

bool ends_with_seal(std::span<const std::byte> file) {
  if (file.size() < kSealBytes) return false;
  const auto seal = file.last(kSealBytes);
  return std::memcmp(seal.data(), kMark, std::strlen(kMark)) == 0 && seal.back() == std::byte{'\n'};
}

Seal check_seal(const std::string& path) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rbe"), std::fclose);
  if (!file) throw StorageError("cannot open '", path, "' to sum it: ", std::strerror(errno));
  Sha256 sum;
  std::string held;  // the last kSealBytes so far: they may be the seal
  std::vector<char> block(kBlockBytes);
  while (const std::size_t count = std::fread(block.data(), 1, block.size(), file.get())) {
    held.append(block.data(), count);
    if (held.size() <= kSealBytes) continue;
    const std::size_t known = held.size() - kSealBytes;
    sum.update(std::as_bytes(std::span(held.data(), known)));
    held.erase(0, known);
  }
  if (std::ferror(file.get())) throw StorageError("cannot read '", path, "' to sum it: ", std::strerror(errno));
  if (!held.starts_with(kMark)) return Seal::absent;
  return held == seal_of(sum.hex()) ? Seal::right : Seal::wrong;
}

}  // namespace osler
