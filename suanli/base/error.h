// Errors are values. A function that can fail because of the world (a file, a flag, a message, a peer)
// returns Result<T>; a broken promise inside the program is a bug and asserts (SUANLI_CHECK).
//
//   Result<Shard> open(const std::string& path);
//
//   Result<Bytes> size_of(const std::string& path) {
//     SUANLI_ASSIGN_OR_RETURN(Shard shard, open(path));
//     return shard.size();
//   }
//
// An Error names the place, the value and the next step, so that the person who reads it can act on it.
#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>

namespace suanli {

enum class ErrorCode {
#define SUANLI_ERROR_CODE(name, exit_code, when) name,
#include "suanli/base/error_codes.def"
#undef SUANLI_ERROR_CODE
};

struct Error {
  ErrorCode code;
  std::string message;    // one sentence that holds the offending value
  std::string place;      // file, file:line, tensor or flag; may be empty
  std::string next_step;  // what to do now; may be empty

  // "place: message; next step [code]"
  std::string to_string() const;

  // The same error seen from further out: `outer` is put before the place.
  Error within(std::string_view outer) &&;
};

template <typename T>
using Result = tl::expected<T, Error>;
using Status = Result<void>;

std::string_view name_of(ErrorCode code);
std::string_view meaning_of(ErrorCode code);
int exit_code_of(ErrorCode code);

// The error of a failed system call: errno's text, and its code (ENOSPC and EFBIG become no_space, ENOENT not_found).
Error system_error(int error_number, std::string_view doing, std::string place);

inline tl::unexpected<Error> fail(ErrorCode code, std::string message, std::string place = {},
                                  std::string next_step = {}) {
  return tl::unexpected<Error>(
      Error{code, std::move(message), std::move(place), std::move(next_step)});
}

// Prints the failed condition and aborts. Always on.
[[noreturn]] void check_failed(const char* condition, const char* file, int line);

}  // namespace suanli

#define SUANLI_CHECK(condition) \
  ((condition) ? void(0) : ::suanli::check_failed(#condition, __FILE__, __LINE__))

#define SUANLI_CONCAT_INNER(a, b) a##b
#define SUANLI_CONCAT(a, b) SUANLI_CONCAT_INNER(a, b)

// Evaluates a Result; returns its error from the enclosing function, or else assigns its value.
#define SUANLI_ASSIGN_OR_RETURN(left, expression) \
  SUANLI_ASSIGN_OR_RETURN_INNER(SUANLI_CONCAT(result_, __LINE__), left, expression)
#define SUANLI_ASSIGN_OR_RETURN_INNER(result, left, expression)     \
  auto result = (expression);                                       \
  if (!result) return tl::unexpected(std::move(result).error());    \
  left = std::move(*result)

// The same for a Status.
#define SUANLI_RETURN_IF_ERROR(expression)                                    \
  do {                                                                        \
    if (auto failed_status = (expression); !failed_status)                    \
      return tl::unexpected(std::move(failed_status).error());                \
  } while (false)
