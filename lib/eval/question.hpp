// Multiple-choice questions out of the native files of the benchmarks. Strict: the first thing wrong is thrown as a
// DataError with file and line, because a silently dropped or misread question changes a score. Local.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace osler::eval {

struct Question {
  std::string id;
  std::string text;                  ///< the question itself, as it stands in the file
  std::vector<std::string> context;  ///< passages before it; empty for most benchmarks
  std::vector<std::string> options;  ///< 2 to 26
  std::int64_t gold = 0;             ///< index into options
  std::string rationale;             ///< empty if there is none
  std::string subject;
  std::string record;  ///< the record as JSON text, for the samples file
  std::int64_t line = 0;
};

enum class FileFormat {
  medqa_4_options,  ///< JSONL {question, options{A..D}, answer_idx, answer}
  medqa_5_options,
  usmle,     ///< the same with any number of options
  medmcqa,   ///< JSONL {question, opa..opd, cop (0-3 or 1-4, decided per file)} or {question, options, answer_idx}
  pubmedqa,  ///< one JSON object: id -> {QUESTION, CONTEXTS, final_decision}
  mmlu,      ///< CSV question, four options, answer (A-D or 0-3, decided per file); with or without header
  generic,   ///< JSONL {id, question, options (list or map), answer (letter, index from 0, or text), context?,
             ///< rationale?, subject?}
};

/// Throws DataError (with file and line; "not found" for a missing file) or StorageError.
std::vector<Question> read_questions(FileFormat format, const std::string& path);

std::string letter_of(std::int64_t index);  ///< 0 -> "A"

}  // namespace osler::eval
