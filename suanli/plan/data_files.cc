#include "suanli/plan/data_files.h"

#include <utility>

#include "suanli/base/error.h"

namespace suanli::plan {
namespace {

constexpr std::pair<std::string_view, std::string_view> kFiles[] = {
#include "data_files.inc"
};

}  // namespace

std::string_view data_file(std::string_view name) {
  for (const auto& [each, content] : kFiles)
    if (each == name) return content;
  SUANLI_CHECK(false && "no such data file");
  return {};
}

}  // namespace suanli::plan
