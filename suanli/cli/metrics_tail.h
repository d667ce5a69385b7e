// The metrics of a run that another process writes (docs/formats/run-folder.md), as they come.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "suanli/train/observer.h"

namespace suanli::cli {

// One thread.
class MetricsTail {
 public:
  // From byte `from` of the file on, which may not be there yet.
  explicit MetricsTail(std::string path, std::int64_t from = 0) : path_(std::move(path)), at_(from) {}
  // The whole lines that have come since the last call; damaged ones are left out. At most some megabytes in one call.
  std::vector<nlohmann::json> take();

 private:
  std::string path_;
  std::int64_t at_;
};

// Tells an observer what lines say.
class MetricsReplay {
 public:
  // `start` has what lines do not say: the run folder, the size of the dataset.
  MetricsReplay(train::Observer& observer, train::StartInfo start) : observer_(observer), info_(std::move(start)) {}
  // Lines of unknown kinds and ones that lack something are left out.
  void tell(const nlohmann::json& line);

 private:
  train::Observer& observer_;
  train::StartInfo info_;
  Seconds pace_;
};

// "step 3  loss 2.3450  1,200 tok/s"; empty for a line that says nothing to people.
std::string metrics_text(const nlohmann::json& line);

}  // namespace suanli::cli
