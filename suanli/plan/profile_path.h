// Where `suanli calibrate` leaves this machine's profile and plans look for it.
#pragma once

#include <string>

namespace suanli::plan {

// $XDG_CACHE_HOME/suanli/profile.json, or ~/.cache/suanli/profile.json (XDG base directory specification). Without either
// variable: the file profile.json of the current folder.
std::string default_profile_path();

}  // namespace suanli::plan
