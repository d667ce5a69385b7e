// How fast the disk of a folder takes and gives data, and how long a small durable write lasts.
#pragma once

#include <string>

#include "suanli/base/error.h"
#include "suanli/base/units.h"
#include "suanli/plan/profile.h"
#include "suanli/plan/samples.h"

namespace suanli::plan {

// Files are made in the folder and removed again, whatever happens. One thread.
class DiskSampler {
 public:
  DiskSampler(std::string folder, Bytes size) : folder_(std::move(folder)), size_(size) {}

  // One file of the size written, made durable and read back, and some small durable writes.
  // Errors: no_space, io, not_found.
  Status sample();
  // At least one sample.
  DiskRate rate() const;

 private:
  const std::string folder_;
  const Bytes size_;
  Samples write_, read_, sync_;
  bool from_cache_ = false;
};

}  // namespace suanli::plan
