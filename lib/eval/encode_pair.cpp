#include "eval/encode_pair.hpp"

#include "base/error.hpp"
#include "eval/python_text.hpp"

namespace osler::eval {

generate::ScoreRequest encode_pair(const text::Tokenizer& tokenizer, const std::string& context,
                                   const std::vector<std::string>& continuations) {
  const std::string stripped(rstrip(context));
  const std::string trailing = context.substr(stripped.size());
  const bool with_bos = tokenizer.adds_bos() && tokenizer.bos_id() >= 0;
  const std::vector<int> context_ids = tokenizer.encode(stripped);
  generate::ScoreRequest request;
  if (with_bos) request.context.push_back(tokenizer.bos_id());
  request.context.insert(request.context.end(), context_ids.begin(), context_ids.end());
  if (request.context.empty()) throw DataError("an empty prompt and a tokenizer without BOS: nothing to condition on");
  for (const std::string& continuation : continuations) {
    const std::vector<int> whole = tokenizer.encode(stripped + trailing + continuation);
    if (whole.size() <= context_ids.size())
      throw DataError("the tokenizer merges option ", 1 + request.continuations.size(),
                      " into its context: it cannot be scored");
    request.continuations.emplace_back(whole.begin() + static_cast<std::ptrdiff_t>(context_ids.size()), whole.end());
  }
  return request;
}

}  // namespace osler::eval
