#include "text/json_record.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstddef>
#include <unordered_set>
#include <utility>

#include "base/text_of.hpp"

namespace osler::text {
namespace {

using Json = nlohmann::json;

/// Watches the parser go by. The library's own messages quote the input, so only positions are taken from them.
class RecordWatcher final : public nlohmann::json_sax<Json> {
 public:
  explicit RecordWatcher(const std::vector<std::string>& fields) : fields_(fields), values_(fields.size()) {}

  bool null() override { return other("null"); }
  bool boolean(bool) override { return other("a boolean"); }
  bool number_float(Json::number_float_t, const std::string&) override { return other("a number"); }
  bool binary(Json::binary_t&) override { return other("binary"); }
  bool number_integer(Json::number_integer_t value) override { return integer(text_of(value)); }
  bool number_unsigned(Json::number_unsigned_t value) override { return integer(text_of(value)); }

  bool string(std::string& value) override {
    if (depth_ == 0) return not_an_object();
    if (depth_ == 1) {
      if (is_id_) id_ = value;
      if (wanted_ < fields_.size()) values_[wanted_] = std::move(value);
    }
    return true;
  }

  bool start_object(std::size_t) override {
    if (depth_ == 1) note_type("an object");
    if (++depth_ > kMaxJsonDepth) return too_deep();
    if (keys_.size() < static_cast<std::size_t>(depth_)) keys_.resize(static_cast<std::size_t>(depth_));
    keys_[static_cast<std::size_t>(depth_) - 1].clear();
    return true;
  }
  bool end_object() override {
    --depth_;
    return true;
  }
  bool start_array(std::size_t) override {
    if (depth_ == 0) return not_an_object();
    if (depth_ == 1) note_type("an array");
    if (++depth_ > kMaxJsonDepth) return too_deep();
    if (keys_.size() < static_cast<std::size_t>(depth_)) keys_.resize(static_cast<std::size_t>(depth_));
    return true;
  }
  bool end_array() override {
    --depth_;
    return true;
  }

  bool key(std::string& name) override {
    if (!keys_[static_cast<std::size_t>(depth_) - 1].insert(name).second) return fail("a key appears twice");
    if (depth_ == 1) {
      wanted_ = static_cast<std::size_t>(std::find(fields_.begin(), fields_.end(), name) - fields_.begin());
      is_id_ = name == "id";
    }
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) override {
    return fail(text_of("not valid JSON at byte ", position));
  }

  std::optional<RecordProblem> finish(bool parsed, JsonRecord& record) {
    if (!parsed) return RecordProblem{DropReason::bad_json, error_.empty() ? "not valid JSON" : error_};
    record.text.clear();
    for (std::size_t i = 0; i < fields_.size(); ++i) {
      if (!values_[i]) {
        return RecordProblem{DropReason::missing_field,
                             wrong_type_.empty() ? text_of("no field '", fields_[i], "'") : wrong_type_};
      }
      if (i > 0) record.text += '\n';
      record.text += *values_[i];
    }
    record.id = std::move(id_);
    return std::nullopt;
  }

 private:
  bool fail(const std::string& error) {
    if (error_.empty()) error_ = error;
    return false;
  }
  bool too_deep() { return fail(text_of("nested deeper than ", kMaxJsonDepth, " levels")); }
  bool not_an_object() { return fail("not a JSON object: one record per line is needed"); }
  void note_type(const char* type) {
    if (wanted_ < fields_.size() && wrong_type_.empty()) {
      wrong_type_ = text_of("field '", fields_[wanted_], "' is ", type, ", not a string");
    }
  }
  bool other(const char* type) {
    if (depth_ == 0) return not_an_object();
    if (depth_ == 1) note_type(type);
    return true;
  }
  bool integer(const std::string& digits) {
    if (depth_ == 1 && is_id_) id_ = digits;
    return other("a number");
  }

  const std::vector<std::string>& fields_;
  std::vector<std::optional<std::string>> values_;
  std::vector<std::unordered_set<std::string>> keys_;  // per level
  std::string id_;
  std::string error_;
  std::string wrong_type_;
  std::size_t wanted_ = static_cast<std::size_t>(-1);
  bool is_id_ = false;
  int depth_ = 0;
};

}  // namespace

std::optional<RecordProblem> parse_json_record(std::string_view line, const std::vector<std::string>& fields,
                                               JsonRecord& record) {
  RecordWatcher watcher(fields);
  const bool parsed = Json::sax_parse(line.data(), line.data() + line.size(), &watcher);
  return watcher.finish(parsed, record);
}

}  // namespace osler::text
