#include "text/chat_template.hpp"

#include <array>
#include <string>
#include <utility>

#include "base/error.hpp"

namespace osler::text {
namespace {

constexpr std::array<std::pair<std::string_view, TemplateKind>, 4> kKinds{{{"mistral-v1", TemplateKind::mistral_v1},
                                                                           {"mistral-v3", TemplateKind::mistral_v3},
                                                                           {"chatml", TemplateKind::chatml},
                                                                           {"plain", TemplateKind::plain}}};
constexpr const char* kChatmlOpen = "<|im_start|>";
constexpr const char* kChatmlClose = "<|im_end|>";

/// The id of a control piece, -1 where there is no piece of that name. A piece that the tokenizer finds in text would
/// let text forge structure.
int control_piece(const Tokenizer& tokenizer, const char* name, const char* format) {
  const SpecialPiece piece = tokenizer.special_piece(name);
  if (piece.id >= 0 && !piece.is_control)
    throw DataError("tokenize.template=", format, ": the tokenizer has '", name,
                    "' as a piece that it also finds inside text, so that a document could forge turns; take another "
                    "template");
  return piece.id;
}

void add_id(int id, char supervised, EncodedChat& chat) {
  chat.ids.push_back(id);
  chat.supervised.push_back(supervised);
}

std::string_view without_spaces_at_end(std::string_view text) {
  const std::size_t last = text.find_last_not_of(' ');
  return text.substr(0, last == std::string_view::npos ? 0 : last + 1);
}

}  // namespace

TemplateKind template_from_name(std::string_view name) {
  for (const auto& [known, kind] : kKinds)
    if (known == name) return kind;
  throw InternalError("no template '", name, "'");
}

ChatTemplate::ChatTemplate(TemplateKind kind, const Tokenizer& tokenizer, Begin begin)
    : kind_(kind), tokenizer_(tokenizer), begin_(begin) {
  if (tokenizer.eos_id() < 0) throw DataError("the tokenizer has no end-of-sequence piece to end answers with");
  if (kind == TemplateKind::mistral_v3) {
    open_ = control_piece(tokenizer, "[INST]", "mistral-v3");
    close_ = control_piece(tokenizer, "[/INST]", "mistral-v3");
    if (open_ < 0 || close_ < 0)
      throw DataError(
          "tokenize.template=mistral-v3 needs a tokenizer with the control pieces [INST] and [/INST], as "
          "Mistral-7B v0.3 has; for this one take mistral-v1");
  }
  if (kind == TemplateKind::chatml) {
    open_ = control_piece(tokenizer, kChatmlOpen, "chatml");
    close_ = control_piece(tokenizer, kChatmlClose, "chatml");
    if ((open_ < 0) != (close_ < 0))
      throw DataError("tokenize.template=chatml: the tokenizer has only one of ", kChatmlOpen, " and ", kChatmlClose);
  }
}

void ChatTemplate::add_text(std::string_view text, char supervised, EncodedChat& chat) const {
  for (const int id : tokenizer_.encode(text)) add_id(id, supervised, chat);
}

void ChatTemplate::encode_mistral(const std::vector<Message>& messages, EncodedChat& chat) const {
  std::size_t bears_system = messages.size();
  for (std::size_t i = messages.size(); i-- > 0;)
    if (messages[i].role == Role::user && (kind_ != TemplateKind::mistral_v3 || bears_system == messages.size()))
      bears_system = i;
  const bool has_system = !messages.empty() && messages.front().role == Role::system;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const Message& message = messages[i];
    if (message.role == Role::system) continue;
    if (message.role == Role::assistant) {
      add_text(kind_ == TemplateKind::mistral_v3 ? without_spaces_at_end(message.content) : message.content, 1, chat);
      add_id(tokenizer_.eos_id(), 1, chat);
      continue;
    }
    const std::string text =
        has_system && i == bears_system ? messages.front().content + "\n\n" + message.content : message.content;
    if (kind_ == TemplateKind::mistral_v1) add_text("[INST] " + text + " [/INST]", 0, chat);
    if (kind_ == TemplateKind::plain) add_text(text + "\n", 0, chat);
    if (kind_ != TemplateKind::mistral_v3) continue;
    add_id(open_, 0, chat);
    add_text(text, 0, chat);
    add_id(close_, 0, chat);
  }
}

void ChatTemplate::encode_chatml(const std::vector<Message>& messages, EncodedChat& chat) const {
  const auto add_header = [&](Role role) {
    const std::string header = text_of(open_ < 0 ? kChatmlOpen : "", name_of(role), "\n");
    if (open_ >= 0) add_id(open_, 0, chat);
    add_text(header, 0, chat);
  };
  for (const Message& message : messages) {
    const char supervised = message.role == Role::assistant ? 1 : 0;
    add_header(message.role);
    add_text(message.content, supervised, chat);
    if (close_ >= 0) {
      add_id(close_, supervised, chat);
    } else {
      add_text(kChatmlClose, supervised, chat);
      if (supervised != 0)
        add_id(tokenizer_.eos_id(), 1, chat);  // what generation can stop at: <|im_end|> is only text
    }
    add_text("\n", 0, chat);
  }
  if (messages.back().role == Role::user) add_header(Role::assistant);
}

AnswerEnd ChatTemplate::answer_end() const {
  if (kind_ != TemplateKind::chatml) return {};
  return close_ >= 0 ? AnswerEnd{close_, ""} : AnswerEnd{-1, kChatmlClose};
}

EncodedChat ChatTemplate::encode(const std::vector<Message>& messages) const {
  OSLER_CHECK(!messages.empty(), "a conversation without messages");
  EncodedChat chat;
  if (begin_ == Begin::with_bos && tokenizer_.bos_id() >= 0) add_id(tokenizer_.bos_id(), 0, chat);
  if (kind_ == TemplateKind::chatml) {
    encode_chatml(messages, chat);
  } else {
    encode_mistral(messages, chat);
  }
  return chat;
}

}  // namespace osler::text
