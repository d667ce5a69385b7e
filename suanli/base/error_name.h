// From the name of an error code, as messages between machines carry it, back to the code.
#pragma once

#include <optional>
#include <string_view>

#include "suanli/base/error.h"

namespace suanli {

// The code that name_of() gives this name; nothing for any other word.
std::optional<ErrorCode> error_code_named(std::string_view name);

}  // namespace suanli
