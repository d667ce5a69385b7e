// Every object that a command prints with --json, and every field of it, once. The reference page
// docs/reference/cli-json.md is printed from this table, and output is checked against it.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "suanli/cli/output.h"

namespace suanli::cli {

struct JsonField {
  std::string_view record;  // "train/step": one line per such event; "doctor": the one object
  std::string_view name;
  std::string_view type;  // "integer", "number or null", ...
  std::string_view meaning;
};
// Fields of one record stand together, in the order in which they are printed.
std::span<const JsonField> json_fields();

// The object has exactly the record's fields, in order: anything else is a bug.
void check_fields(std::string_view record, const Json& object);

std::string json_reference_markdown();

}  // namespace suanli::cli
