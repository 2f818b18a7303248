#include "eval/result_sums.hpp"

#include <filesystem>

#include "base/error.hpp"
#include "base/publish.hpp"
#include "base/sha256.hpp"

namespace osler::eval {

namespace {

const std::string kNoSum(64, '0');
constexpr const char* kRemedy = "; copy it again from where it is whole, or evaluate again";

std::string quoted(const std::string& sum) {
  return "\"sha256\": \"" + sum + "\"";
}

/// The text with another sum in the place of `from`; "" when that is not there.
std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.rfind(quoted(from));
  return at == std::string::npos ? std::string() : text.replace(at, quoted(from).size(), quoted(to));
}

}  // namespace

std::string with_sums(Json results, const std::map<std::string, std::string>& sums) {
  results["osler"]["files"] = sums;
  results["osler"]["sha256"] = kNoSum;
  const std::string text = results.dump(2) + "\n";
  return replaced(text, kNoSum, sha256_hex(text));
}

void verify_results(const std::string& folder) {
  const std::string path = folder + "/results.json";
  const std::string text = read_file(path);
  const Json results = Json::parse(text, nullptr, false);
  const Json osler = results.is_object() && results.contains("osler") ? results["osler"] : Json();
  if (!osler.is_object() || !osler.contains("sha256") || !osler["sha256"].is_string() || !osler.contains("files") ||
      !osler["files"].is_object())
    throw DataError("'", path, "' is damaged or holds no sums, as those of older releases", kRemedy);
  const auto own = osler["sha256"].get<std::string>();
  const std::string summed = replaced(text, own, kNoSum);
  if (summed.empty() || sha256_hex(summed) != own)
    throw DataError("'", path, "' is damaged or was edited: its own sum does not match", kRemedy);
  for (const auto& [name, sum] : osler["files"].items()) {
    const std::string file = folder + "/" + name;
    std::error_code error;
    if (!std::filesystem::is_regular_file(file, error))
      throw DataError("'", file, "', which '", path, "' lists, is missing", kRemedy);
    if (!sum.is_string() || sha256_hex_of_file(file) != sum.get<std::string>())
      throw DataError("'", file, "' has another SHA-256 than '", path, "' says", kRemedy);
  }
}

}  // namespace osler::eval
