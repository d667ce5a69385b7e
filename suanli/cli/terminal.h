// What the other end of a stream can show.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace suanli::cli {

struct Terminal {
  bool is_tty = false;
  bool colour = false;  // a terminal that is not dumb, and NO_COLOR is unset (no-color.org)
  bool utf8 = false;    // by the locale
  int width = 80;       // columns

  // Of a file descriptor and this process's environment.
  static Terminal of(int descriptor);
};

// Does a locale given by these values of LC_ALL, LC_CTYPE and LANG (null: unset) use UTF-8?
bool is_utf8_locale(const char* all, const char* ctype, const char* lang);

enum class Paint { bold, faint, red, green, yellow, cyan };
// The text in colour, if the terminal shows any.
std::string paint(const Terminal& terminal, Paint paint, std::string_view text);

// Columns that UTF-8 text takes: code points; wide and combining characters are not known here.
std::size_t columns_of(std::string_view text);
// The longest start of the text that takes at most `columns`.
std::string_view cut_to(std::string_view text, std::size_t columns);
// Text in lines of at most `columns`, broken at spaces; later lines begin with `indent` spaces.
std::string wrapped(std::string_view text, std::size_t columns, std::size_t indent = 0);

// A bar of `fraction` of `columns`: block characters in eighths, or '#'.
std::string bar(const Terminal& terminal, double fraction, int columns);

}  // namespace suanli::cli
