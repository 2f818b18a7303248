#include "eval/prompt_library.hpp"

#include <filesystem>
#include <set>

#include "base/error.hpp"
#include "base/publish.hpp"

namespace osler::eval {

namespace {

constexpr std::uint64_t kMaxPromptBytes = 1 << 20;

std::string stem_of(FileFormat format) {
  switch (format) {
    case FileFormat::medqa_4_options:
    case FileFormat::medqa_5_options:
      return "medqa";
    case FileFormat::usmle:
      return "usmle";
    case FileFormat::medmcqa:
      return "medmcqa";
    case FileFormat::pubmedqa:
      return "pubmedqa";
    case FileFormat::mmlu:
      return "mmlu";
    case FileFormat::generic:
      return "generic";
  }
  throw InternalError("unknown benchmark format");
}

const BuiltinPrompt* find_builtin(const std::string& name) {
  for (const BuiltinPrompt& prompt : builtin_prompts())
    if (prompt.name == name) return &prompt;
  return nullptr;
}

std::string builtin_names() {
  std::set<std::string> names;
  for (const BuiltinPrompt& prompt : builtin_prompts())
    names.insert(std::string(prompt.name.substr(0, prompt.name.find('/'))));
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

PromptTemplate read_prompt(const std::string& path) {
  try {
    return PromptTemplate(read_file(path, kMaxPromptBytes), path);
  } catch (const StorageError& error) {
    throw ConfigError("eval.prompt: ", error.what());
  }
}

}  // namespace

PromptTemplate load_prompt(const std::string& prompt, FileFormat format) {
  for (const std::string& name : {prompt, prompt + "/" + stem_of(format), prompt + "/default"})
    if (const BuiltinPrompt* found = find_builtin(name)) return PromptTemplate(found->text, "built-in prompt " + name);
  std::error_code ignored;
  if (std::filesystem::is_regular_file(prompt, ignored)) return read_prompt(prompt);
  for (const std::string& stem : {stem_of(format), std::string("default")}) {
    const std::string path = prompt + "/" + stem + ".txt";
    if (std::filesystem::is_regular_file(path, ignored)) return read_prompt(path);
  }
  throw ConfigError("eval.prompt: ", prompt, " is no built-in prompt (", builtin_names(),
                    "), no file, and no folder with ", stem_of(format), ".txt or default.txt");
}

}  // namespace osler::eval
