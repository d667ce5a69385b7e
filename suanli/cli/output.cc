#include "suanli/cli/output.h"

#include <cerrno>
#include <cstdio>

#include "suanli/cli/json_records.h"

namespace suanli::cli {
namespace {

// The errno of the first failed write, or 0.
int failure = 0;

}  // namespace

bool write_stdout(std::string_view text) {
  if (failure != 0) return false;
  errno = 0;
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size())
    failure = errno != 0 ? errno : EIO;
  return failure == 0;
}

Status flush_stdout() {
  if (failure == 0) {
    errno = 0;
    if (std::fflush(stdout) != 0) failure = errno != 0 ? errno : EIO;
  }
  if (failure == 0 || failure == EPIPE) return {};
  return tl::unexpected(system_error(failure, "writing the result", "standard output"));
}

std::string dump(const Json& object) {
  return object.dump(-1, ' ', false, Json::error_handler_t::replace);
}

void emit(std::string_view record, const Json& object) {
  check_fields(record, object);
  write_stdout(dump(object) + "\n");
  (void)flush_stdout();  // told once, when the command ends
}

Json json_of(const Error& error) {
  return {{"code", name_of(error.code)},
          {"exit_code", exit_code_of(error.code)},
          {"message", error.message},
          {"place", error.place},
          {"next_step", error.next_step}};
}

std::string error_text(const Error& error) {
  std::string text = "error: " + (error.place.empty() ? "" : error.place + ": ") + error.message +
                     " [" + std::string(name_of(error.code)) + "]\n";
  if (!error.next_step.empty()) text += "  next: " + error.next_step + "\n";
  return text;
}

std::string warning_text(const Error& warning) {
  const std::string place = warning.place.empty() ? "" : warning.place + ": ";
  const std::string next = warning.next_step.empty() ? "" : "\n  next: " + warning.next_step;
  return "warning: " + place + warning.message + next;
}

}  // namespace suanli::cli
