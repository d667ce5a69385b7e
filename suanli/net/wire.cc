#include "suanli/net/wire.h"

namespace suanli::net {

std::optional<ErrorCode> error_code_of(std::string_view name) {
#define SUANLI_ERROR_CODE(code, exit_code, when) \
  if (name == #code) return ErrorCode::code;
#include "suanli/base/error_codes.def"
#undef SUANLI_ERROR_CODE
  return std::nullopt;
}

}  // namespace suanli::net
