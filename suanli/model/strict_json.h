// JSON from files: what other parsers let pass is refused here, so that a file means one thing to
// every reader.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string_view>

#include "suanli/base/error.h"

namespace suanli::model {

// Refuses, beside bad syntax and bad UTF-8: a key given twice in one object, nesting deeper than
// `max_depth`. `place` names the file in the error (code corrupt).
[[nodiscard]] Result<nlohmann::json> parse_strict_json(std::string_view text,
                                                       std::string_view place, int max_depth);

}  // namespace suanli::model
