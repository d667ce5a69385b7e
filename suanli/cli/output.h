// The one way to stdout: text, or JSON whose fields are all documented.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "suanli/base/error.h"

namespace suanli::cli {

using Json = nlohmann::ordered_json;

// False once nobody reads stdout any more, or it cannot be written.
bool write_stdout(std::string_view text);
// Writes what is buffered. A reader that went away (`| head`) is no error.
[[nodiscard]] Status flush_stdout();

// One line of JSON, flushed. `record` names its documentation in json_records.h, whose fields must
// be those of `object`, in that order.
void emit(std::string_view record, const Json& object);

// Text of unknown bytes is made UTF-8.
std::string dump(const Json& object);

Json json_of(const Error& error);

// To stderr: "error: place: message [code]" and the next step on a line of its own.
std::string error_text(const Error& error);
// The same of what does not stop a command: "warning: place: message", without the last line's end.
std::string warning_text(const Error& warning);

}  // namespace suanli::cli
