#include "suanli/base/error.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace suanli {
namespace {

struct CodeInfo {
  std::string_view name;
  int exit_code;
  std::string_view meaning;
};

constexpr CodeInfo kCodes[] = {
#define SUANLI_ERROR_CODE(name, exit_code, when) {#name, exit_code, when},
#include "suanli/base/error_codes.def"
#undef SUANLI_ERROR_CODE
};

const CodeInfo& info(ErrorCode code) { return kCodes[static_cast<int>(code)]; }

ErrorCode code_of_errno(int error_number) {
  switch (error_number) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return ErrorCode::no_space;
    case ENOENT:
    case ENOTDIR:
      return ErrorCode::not_found;
    case ENOMEM:
      return ErrorCode::no_memory;
    default:
      return ErrorCode::io;
  }
}

std::string next_step_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::no_space:
      return "free some space (or raise the file size limit) and run the command again";
    case ErrorCode::not_found:
      return "check the path";
    case ErrorCode::no_memory:
      return "end other programs, or use a smaller model or batch";
    default:
      return "check the permissions and the state of the file system";
  }
}

}  // namespace

std::string Error::to_string() const {
  std::string text = place.empty() ? message : place + ": " + message;
  if (!next_step.empty()) text += "; " + next_step;
  return text + " [" + std::string(name_of(code)) + "]";
}

Error Error::within(std::string_view outer) && {
  place = place.empty() ? std::string(outer) : std::string(outer) + ": " + place;
  return std::move(*this);
}

std::string_view name_of(ErrorCode code) { return info(code).name; }
std::string_view meaning_of(ErrorCode code) { return info(code).meaning; }
int exit_code_of(ErrorCode code) { return info(code).exit_code; }

Error system_error(int error_number, std::string_view doing, std::string place) {
  const ErrorCode code = code_of_errno(error_number);
  return Error{code, std::string(doing) + " failed: " + std::strerror(error_number),
               std::move(place), next_step_of(code)};
}

void check_failed(const char* condition, const char* file, int line) {
  std::fprintf(stderr, "%s:%d: internal check failed: %s\n", file, line, condition);
  std::abort();
}

}  // namespace suanli
