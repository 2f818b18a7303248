#include "data/corpus_pass.hpp"

#include <algorithm>
#include <iomanip>
#include <optional>
#include <sstream>
#include <string_view>
#include <utility>

#include "base/error.hpp"
#include "base/sha256.hpp"
#include "data/token_shard.hpp"
#include "text/chat_template.hpp"
#include "text/line_reader.hpp"

namespace osler::data {
namespace {

Digest digest_of(const text::Document& document) {
  Sha256 sum;
  sum.update(document.source);
  sum.update(std::string_view("\0", 1));
  sum.update(document.text);
  // The same text cut into other turns is another conversation.
  for (const text::Message& message : document.messages)
    sum.update(text_of("\n", text::name_of(message.role), " ", message.content.size()));
  const std::string hex = sum.hex();
  return {std::stoull(hex.substr(0, 16), nullptr, 16), std::stoull(hex.substr(16, 16), nullptr, 16)};
}

/// Lines that start before byte `begin`.
std::int64_t count_lines(const std::string& path, std::uint64_t begin) {
  text::LineReader lines(text::open_byte_stream(path), 0);
  std::string line;
  std::int64_t count = 0;
  while (lines.offset() < begin && lines.next(line) != text::LineReader::Status::end) ++count;
  return count;
}

[[noreturn]] void stop_at(const text::Problem& problem, std::uint64_t part_begin) {
  const std::int64_t line =
      problem.line > 0 && part_begin > 0 ? problem.line + count_lines(problem.file, part_begin) : problem.line;
  throw DataError(problem.file, ":", line, ": ", text::name_of(problem.reason), ": ", problem.detail,
                  "; mend it, or set tokenize.bad_records=skip to go on without such records");
}

/// Calls `use` for every document of the unit until it returns false; `part_lines` gets the lines read of each part.
template <class Use, class OnProblem>
void for_each_document(const Corpus& corpus, const WorkUnit& unit, const config::TokenizeOptions& options,
                       std::vector<std::int64_t>& part_lines, const OnProblem& on_problem, const Use& use) {
  const CorpusSource& source = corpus[static_cast<std::size_t>(unit.source)];
  for (std::size_t p = 0; p < unit.parts.size(); ++p) {
    const FilePart& part = unit.parts[p];
    text::ReaderOptions reading;
    reading.kind = options.format == config::TextFormat::chat ? text::RecordKind::chat : text::RecordKind::text;
    reading.begin = part.begin;
    reading.end = part.end;
    text::DocumentReader reader(
        source.files[static_cast<std::size_t>(part.file)].path, source.name, options.text_field,
        [&](const text::Problem& problem) { on_problem(p, problem); }, reading);
    while (std::optional<text::Document> document = reader.next()) {
      if (!use(*document)) return;
    }
    part_lines.push_back(reader.lines_read());
  }
}

bool is_marked(const std::vector<char>& flags, std::size_t document) {
  return document < flags.size() && flags[document] != 0;
}

void look_for_identifiers(std::string& piece, config::Identifiers what, text::IdentifierCounts& counts) {
  const std::vector<text::IdentifierMatch> matches = text::find_identifiers(piece);
  for (const text::IdentifierMatch& match : matches) ++counts[static_cast<std::size_t>(match.kind)];
  if (what == config::Identifiers::mask && !matches.empty()) piece = text::mask_identifiers(piece, matches);
}

/// Masking comes before anything else sees the text: sums, overlaps and ids are those of the masked text.
void look_for_identifiers(text::Document& document, config::Identifiers what, text::IdentifierCounts& counts) {
  if (what == config::Identifiers::off) return;
  if (document.messages.empty()) return look_for_identifiers(document.text, what, counts);
  for (text::Message& message : document.messages) look_for_identifiers(message.content, what, counts);
  document.text = text::joined(document.messages);
}

/// Words in a row do not reach from one message into the next.
void find_overlaps(const text::Document& document, OverlapScanner& overlaps, UnitScan& scan) {
  std::vector<std::string_view> pieces;
  for (const text::Message& message : document.messages) pieces.emplace_back(message.content);
  if (pieces.empty()) pieces.emplace_back(document.text);
  for (const std::uint32_t pattern : overlaps.scan(pieces))
    scan.hits.push_back({static_cast<std::uint32_t>(scan.num_documents), pattern});
}

std::string shard_name(std::int32_t unit, std::int64_t part) {
  std::ostringstream name;
  name << "shard_" << std::setfill('0') << std::setw(5) << unit;
  if (part > 0) name << '_' << std::setw(3) << part;
  name << ".h5";
  return name.str();
}

/// The shards of one unit, one after the other.
class UnitWriter {
 public:
  UnitWriter(std::string folder, std::int32_t number, std::int64_t shard_tokens, ShardInfo info)
      : folder_(std::move(folder)), number_(number), shard_tokens_(shard_tokens), info_(std::move(info)) {}

  void add(const text::EncodedChat& document) {
    const auto length = static_cast<std::int64_t>(document.ids.size());
    if (writer_ && writer_->num_tokens() + length > shard_tokens_) close({});
    if (!writer_) writer_.emplace(folder_ + "/" + shard_name(number_, num_shards_++), info_);
    writer_->add_document(document.ids, document.supervised);
    num_tokens_ += length;
    num_supervised_ += std::count(document.supervised.begin(), document.supervised.end(), 1);
  }

  /// The unit's drop counts stand in its last shard.
  void close(const std::map<std::string, std::int64_t>& dropped) {
    if (writer_) writer_->finish(dropped);
    writer_.reset();
  }

  std::int64_t num_shards() const { return num_shards_; }
  std::int64_t num_tokens() const { return num_tokens_; }
  std::int64_t num_supervised() const { return num_supervised_; }

 private:
  std::string folder_;
  std::int32_t number_;
  std::int64_t shard_tokens_;
  ShardInfo info_;
  std::optional<TokenShardWriter> writer_;
  std::int64_t num_shards_ = 0;
  std::int64_t num_tokens_ = 0;
  std::int64_t num_supervised_ = 0;
};

/// A document's ids; without flags unless it is a conversation.
class DocumentEncoder {
 public:
  DocumentEncoder(const config::TokenizeOptions& options, const text::Tokenizer& tokenizer) : tokenizer_(tokenizer) {
    const auto begin = options.add_bos ? text::Begin::with_bos : text::Begin::bare;
    if (options.add_bos) bos_id_ = tokenizer.bos_id();
    if (options.format == config::TextFormat::chat)
      chat_.emplace(text::template_from_name(config::name_of(options.chat_template)), tokenizer, begin);
  }

  text::EncodedChat operator()(const text::Document& document) const {
    if (chat_) return chat_->encode(document.messages);
    text::EncodedChat encoded{tokenizer_.encode(document.text), {}};
    if (bos_id_ >= 0) encoded.ids.insert(encoded.ids.begin(), bos_id_);
    encoded.ids.push_back(tokenizer_.eos_id());
    return encoded;
  }

 private:
  const text::Tokenizer& tokenizer_;
  int bos_id_ = -1;
  std::optional<text::ChatTemplate> chat_;
};

}  // namespace

UnitScan scan_unit(const Corpus& corpus, const WorkUnit& unit, const config::TokenizeOptions& options, const Tick& tick,
                   OverlapScanner* overlaps) {
  UnitScan scan;
  const auto on_problem = [&](std::size_t part, const text::Problem& problem) {
    if (options.bad_records == config::BadRecords::stop) stop_at(problem, unit.parts[part].begin);
    ++scan.dropped[problem.reason];
    if (scan.problems.size() < kMaxProblemsPerUnit) scan.problems.push_back({static_cast<std::int32_t>(part), problem});
  };
  for_each_document(corpus, unit, options, scan.part_lines, on_problem, [&](text::Document& document) {
    look_for_identifiers(document, options.identifiers, scan.identifiers);
    if (overlaps != nullptr) find_overlaps(document, *overlaps, scan);
    ++scan.num_documents;
    scan.text_bytes += static_cast<std::int64_t>(document.text.size());
    if (options.deduplicate) scan.digests.push_back(digest_of(document));
    return tick(static_cast<std::int64_t>(document.text.size()));
  });
  return scan;
}

UnitTokens write_unit(const Corpus& corpus, const WorkUnit& unit, const config::TokenizeOptions& options,
                      const UnitScan& scan, const UnitVerdict& verdict, const text::Tokenizer& tokenizer,
                      const std::string& folder, const Tick& tick) {
  ShardInfo info;
  info.source = corpus[static_cast<std::size_t>(unit.source)].name;
  info.tokenizer_sha256 = tokenizer.sha256();
  info.vocab_size = tokenizer.vocab_size();
  info.bos_id = tokenizer.bos_id();
  info.eos_id = tokenizer.eos_id();
  if (options.format == config::TextFormat::chat) info.chat_template = config::name_of(options.chat_template);
  const DocumentEncoder encode(options, tokenizer);
  info.identifiers_masked = options.identifiers == config::Identifiers::mask;
  info.decontaminated_against = verdict.decontaminated_against;
  UnitWriter writer(folder, unit.number, options.shard_tokens, info);
  UnitTokens result;
  std::int64_t seen = 0;
  bool stopped = false;
  text::IdentifierCounts masked{};  // the scan has counted them
  std::vector<std::int64_t> part_lines;
  const auto ignore = [](std::size_t, const text::Problem&) {};  // the scan has named and counted it
  for_each_document(corpus, unit, options, part_lines, ignore, [&](text::Document& document) {
    const auto index = static_cast<std::size_t>(seen++);
    if (seen > scan.num_documents) return false;
    if (is_marked(verdict.is_duplicate, index)) {
      ++result.num_duplicates;
    } else if (is_marked(verdict.is_contaminated, index)) {
      ++result.num_contaminated;
    } else {
      if (options.identifiers == config::Identifiers::mask) look_for_identifiers(document, options.identifiers, masked);
      writer.add(encode(document));
      ++result.num_documents;
    }
    stopped = !tick(static_cast<std::int64_t>(document.text.size()));
    return !stopped;
  });
  if (stopped) return result;
  if (seen != scan.num_documents) {
    throw DataError("a file of source ", info.source, " changed while it was read (unit ", unit.number, ": ",
                    scan.num_documents, " documents before, ", seen, " now); leave the input alone and run again");
  }
  std::map<std::string, std::int64_t> dropped;
  for (const auto& [reason, count] : scan.dropped) dropped[text::name_of(reason)] = count;
  if (result.num_duplicates > 0) dropped[text::name_of(text::DropReason::duplicate)] = result.num_duplicates;
  if (result.num_contaminated > 0) dropped[text::name_of(text::DropReason::contaminated)] = result.num_contaminated;
  writer.close(dropped);
  result.num_tokens = writer.num_tokens();
  result.num_supervised = writer.num_supervised();
  result.num_shards = writer.num_shards();
  return result;
}

}  // namespace osler::data
