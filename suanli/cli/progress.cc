#include "suanli/cli/progress.h"

#include <unistd.h>

#include <cerrno>
#include <utility>

namespace suanli::cli {

Progress::Progress(const Terminal& terminal, Sink sink, const ProgressOptions& options)
    : terminal_(terminal), sink_(std::move(sink)), options_(options) {}

Progress::~Progress() { finish(); }

void Progress::show(const std::function<std::string()>& make) {
  const Seconds now = options_.clock->now();
  if (has_shown_ && now - last_ < (terminal_.is_tty ? options_.redraw : options_.repeat)) return;
  line_ = make();
  has_shown_ = true;
  last_ = now;
  draw();
}

void Progress::draw() {
  if (!terminal_.is_tty) {
    sink_(line_ + "\n");
    return;
  }
  // The last column stays free: some terminals wrap when it is filled.
  const auto columns = static_cast<std::size_t>(terminal_.width - 1);
  sink_("\r" + std::string(cut_to(line_, columns)) + "\x1b[K");
  is_drawn_ = true;
}

void Progress::note(std::string_view line) {
  if (!is_drawn_) {
    sink_(std::string(line) + "\n");
    return;
  }
  sink_("\r\x1b[K" + std::string(line) + "\n");
  draw();
}

void Progress::finish() {
  if (is_drawn_) sink_("\n");
  is_drawn_ = false;
}

void write_stderr(std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return;  // nobody listens
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

}  // namespace suanli::cli
