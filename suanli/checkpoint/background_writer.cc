#include "suanli/checkpoint/background_writer.h"

#include <utility>

namespace suanli::checkpoint {

BackgroundWriter::BackgroundWriter(Tier& tier, int keep, Clock& clock)
    : tier_(tier), keep_(keep), clock_(clock), thread_([this] { run(); }) {}

BackgroundWriter::~BackgroundWriter() {
  {
    const std::scoped_lock lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

Snapshot BackgroundWriter::recycle() {
  const std::scoped_lock lock(mutex_);
  return busy_ ? Snapshot() : std::exchange(slot_, Snapshot());
}

Seconds BackgroundWriter::submit(Snapshot&& snapshot) {
  std::unique_lock lock(mutex_);
  Seconds waited;
  if (busy_) {
    const Seconds start = clock_.now();
    wait_until_idle(lock);
    waited = clock_.now() - start;
  }
  slot_ = std::move(snapshot);
  busy_ = true;
  changed_.notify_all();
  return waited;
}

BackgroundWriter::Progress BackgroundWriter::poll() {
  const std::scoped_lock lock(mutex_);
  return take_progress();
}

BackgroundWriter::Progress BackgroundWriter::drain() {
  std::unique_lock lock(mutex_);
  wait_until_idle(lock);
  return take_progress();
}

void BackgroundWriter::wait_until_idle(std::unique_lock<std::mutex>& lock) {
  changed_.wait(lock, [this] { return !busy_; });
}

BackgroundWriter::Progress BackgroundWriter::take_progress() {
  Progress taken = progress_;
  progress_.errors.clear();
  return taken;
}

void BackgroundWriter::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return busy_ || stopping_; });
    if (!busy_) return;
    lock.unlock();
    Status saved = tier_.save(slot_);
    Status pruned = saved ? tier_.prune(keep_) : Status();
    lock.lock();
    if (saved) {
      progress_.saved_step = slot_.step;
      ++progress_.saved_count;
    } else {
      progress_.errors.push_back(std::move(saved).error());
    }
    if (!pruned) progress_.errors.push_back(std::move(pruned).error());
    busy_ = false;
    changed_.notify_all();
  }
}

}  // namespace suanli::checkpoint
