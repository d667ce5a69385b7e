#include "suanli/base/error_name.h"

namespace suanli {

std::optional<ErrorCode> error_code_named(std::string_view name) {
#define SUANLI_ERROR_CODE(each, exit_code, when) \
  if (name == #each) return ErrorCode::each;
#include "suanli/base/error_codes.def"
#undef SUANLI_ERROR_CODE
  return std::nullopt;
}

}  // namespace suanli
