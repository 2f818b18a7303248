// How ranks come to leave with one error (docs/design.md, Errors).
#include <c10/util/Exception.h>

#include <algorithm>
#include <new>

#include "base/error.hpp"
#include "comm/group.hpp"

namespace osler::comm {
namespace {

/// Marks what agree() throws; the error's own type still says who can mend it.
struct Agreed {
  virtual ~Agreed() = default;
};

template <ExitCode kCode>
struct AgreedErrorOf : ErrorOf<kCode>, Agreed {
  using ErrorOf<kCode>::ErrorOf;
};

struct Failure {
  ExitCode code = ExitCode::internal;
  std::string message;
  bool agreed = false;
};

Failure failure_of(const std::exception_ptr& exception) {
  try {
    std::rethrow_exception(exception);
  } catch (const Error& error) {
    return {error.code(), error.what(), is_agreed(error)};
  } catch (const c10::Error& error) {
    return {ExitCode::internal, error.what_without_backtrace(), false};
  } catch (const std::bad_alloc&) {
    return {ExitCode::internal, "out of host memory", false};
  } catch (const std::exception& error) {
    return {ExitCode::internal, error.what(), false};
  } catch (...) {
    return {ExitCode::internal, "an exception that is no std::exception", false};
  }
}

[[noreturn]] void throw_agreed(ExitCode code, const std::string& message) {
  switch (code) {
    case ExitCode::usage:
      throw AgreedErrorOf<ExitCode::usage>(message);
    case ExitCode::data:
      throw AgreedErrorOf<ExitCode::data>(message);
    case ExitCode::checkpoint:
      throw AgreedErrorOf<ExitCode::checkpoint>(message);
    case ExitCode::storage:
      throw AgreedErrorOf<ExitCode::storage>(message);
    case ExitCode::numerical:
      throw AgreedErrorOf<ExitCode::numerical>(message);
    case ExitCode::peer:
      throw AgreedErrorOf<ExitCode::peer>(message);
    case ExitCode::requeue:
      throw AgreedErrorOf<ExitCode::requeue>(message);
    case ExitCode::done:
    case ExitCode::internal:
      break;
  }
  throw AgreedErrorOf<ExitCode::internal>(message);
}

}  // namespace

bool is_agreed(const std::exception& error) {
  return dynamic_cast<const Agreed*>(&error) != nullptr;
}

void agree(Group& group, const std::exception_ptr& failure) {
  const std::int64_t nobody = group.size();
  const std::int64_t lowest = group.all_reduce_value(failure ? std::int64_t{group.rank()} : nobody, ReduceOp::min);
  if (lowest == nobody) return;

  const int root = static_cast<int>(lowest);
  Failure mine;
  if (group.rank() == root) {
    mine = failure_of(failure);
    // The first agree() names the rank; one over a wider group passes its message on unchanged.
    if (!mine.agreed && root != 0) mine.message += text_of(" (rank ", root, " of ", group.size(), ")");
  }
  const std::string code = group.broadcast_bytes(std::to_string(static_cast<int>(mine.code)), root);
  throw_agreed(static_cast<ExitCode>(std::stoi(code)), group.broadcast_bytes(mine.message, root));
}

void require_same(Group& group, const std::string& what, const std::string& value, const std::string& remedy) {
  const std::vector<std::string> values = group.all_gather_bytes(value);
  const auto other = std::find_if(values.begin(), values.end(), [&](const auto& each) { return each != values[0]; });
  agree_after(group, [&] {
    if (other != values.end()) throw ConfigError(what, " of ranks 0 and ", other - values.begin(), " differ; ", remedy);
  });
}

}  // namespace osler::comm
