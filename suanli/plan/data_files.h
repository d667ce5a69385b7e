// The data files of this room (data/), which are built into the library.
#pragma once

#include <string_view>

namespace suanli::plan {

// The file's bytes; a name that is not in the folder is a bug.
std::string_view data_file(std::string_view name);

}  // namespace suanli::plan
