#include "suanli/cli/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>

namespace suanli::cli {
namespace {

bool is_set(const char* value) { return value != nullptr && *value != '\0'; }

int width_of(int descriptor) {
  winsize size{};
  if (ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  int columns = 0;
  if (const char* text = std::getenv("COLUMNS"))
    std::from_chars(text, text + std::strlen(text), columns);
  return columns >= 20 && columns <= 1000 ? columns : 80;
}

bool is_continuation(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

}  // namespace

bool is_utf8_locale(const char* all, const char* ctype, const char* lang) {
  const char* locale = is_set(all) ? all : is_set(ctype) ? ctype : is_set(lang) ? lang : "C";
  std::string lower(locale);
  std::ranges::transform(lower, lower.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return lower.find("utf-8") != std::string::npos || lower.find("utf8") != std::string::npos;
}

Terminal Terminal::of(int descriptor) {
  Terminal terminal;
  terminal.is_tty = isatty(descriptor) == 1;
  const char* type = std::getenv("TERM");
  const bool is_dumb = !is_set(type) || std::string_view(type) == "dumb";
  terminal.colour = terminal.is_tty && !is_dumb && !is_set(std::getenv("NO_COLOR"));
  terminal.utf8 =
      is_utf8_locale(std::getenv("LC_ALL"), std::getenv("LC_CTYPE"), std::getenv("LANG"));
  terminal.width = width_of(descriptor);
  return terminal;
}

std::string paint(const Terminal& terminal, Paint paint, std::string_view text) {
  if (!terminal.colour) return std::string(text);
  static constexpr const char* kCodes[] = {"1", "2", "31", "32", "33", "36"};
  return "\x1b[" + std::string(kCodes[static_cast<int>(paint)]) + "m" + std::string(text) +
         "\x1b[0m";
}

std::size_t columns_of(std::string_view text) {
  return text.size() - static_cast<std::size_t>(std::ranges::count_if(text, is_continuation));
}

std::string_view cut_to(std::string_view text, std::size_t columns) {
  std::size_t seen = 0;
  for (std::size_t i = 0; i < text.size(); ++i)
    if (!is_continuation(text[i]) && seen++ == columns) return text.substr(0, i);
  return text;
}

std::string wrapped(std::string_view text, std::size_t columns, std::size_t indent) {
  std::string result;
  std::size_t used = 0;  // of the line
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const std::size_t width = columns_of(word);
    if (used > 0 && used + 1 + width > columns) {
      result += "\n" + std::string(indent, ' ');
      used = indent;
    } else if (used > 0) {
      result += ' ';
      ++used;
    }
    result += word;
    used += width;
  }
  return result;
}

std::string bar(const Terminal& terminal, double fraction, int columns) {
  const double length = std::clamp(fraction, 0.0, 1.0) * columns;
  if (!terminal.utf8) return std::string(static_cast<std::size_t>(std::lround(length)), '#');
  static constexpr const char* kEighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  const auto eighths = static_cast<int>(std::lround(length * 8));
  std::string text;
  for (int i = 0; i < eighths / 8; ++i) text += "█";
  return text + kEighths[eighths % 8];
}

}  // namespace suanli::cli
