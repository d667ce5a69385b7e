#include "suanli/checkpoint/tier.h"

#include <ranges>

namespace suanli::checkpoint {
namespace {

bool is_damage(const Error& error) {
  return error.code != ErrorCode::version && error.code != ErrorCode::no_memory;
}

}  // namespace

Result<LoadedSnapshot> load_latest(const Tier& tier, const TensorFilter& filter) {
  SUANLI_ASSIGN_OR_RETURN(std::vector<SnapshotInfo> infos, tier.list());
  if (infos.empty())
    return fail(ErrorCode::not_found, "there is no snapshot yet", "",
                "train until the first one is written");
  std::vector<Error> damages;
  for (const SnapshotInfo& info : infos | std::views::reverse) {
    auto loaded = info.damage ? tl::unexpected<Error>(*info.damage) : tier.load(info.step, filter);
    if (loaded) return LoadedSnapshot{std::move(*loaded), std::move(damages)};
    if (!is_damage(loaded.error())) return tl::unexpected(std::move(loaded).error());
    damages.push_back(std::move(loaded).error());
  }
  Error newest = std::move(damages.front());
  newest.message = "none of " + std::to_string(damages.size()) +
                   " snapshots can be loaded; of the newest: " + newest.message;
  newest.next_step = "restore the folder from a copy, or start a new run";
  return tl::unexpected(std::move(newest));
}

}  // namespace suanli::checkpoint
