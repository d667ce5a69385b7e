// The events of a pool, numbered, so that who follows them misses none and sees none twice.
#pragma once

#include <deque>
#include <mutex>
#include <string>
#include <vector>

#include "suanli/protocol/views.h"

namespace suanli::pool {

// Any thread.
class EventLog {
 public:
  struct Entry {
    std::int64_t number = 0;  // 1, 2, 3, ... since the coordinator began
    protocol::PoolEvent event;
  };

  void add(protocol::PoolEvent event) {
    const std::lock_guard lock(mutex_);
    entries_.push_back({++last_, std::move(event)});
    if (entries_.size() > kMost) entries_.pop_front();
  }
  // Those of larger numbers than `after`, of one subject or (empty) of all; oldest first.
  std::vector<Entry> after(std::int64_t number, const std::string& subject) const {
    const std::lock_guard lock(mutex_);
    std::vector<Entry> found;
    for (const Entry& entry : entries_)
      if (entry.number > number && (subject.empty() || entry.event.subject == subject)) found.push_back(entry);
    return found;
  }

 private:
  static constexpr std::size_t kMost = 10'000;
  mutable std::mutex mutex_;
  std::deque<Entry> entries_;
  std::int64_t last_ = 0;
};

}  // namespace suanli::pool
