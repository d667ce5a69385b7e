#include "suanli/cli/help_formatter.h"

#include <sstream>

#include "suanli/cli/terminal.h"

namespace suanli::cli {
namespace {

constexpr std::size_t kNameColumns = 32, kColumns = 92;

}  // namespace

HelpFormatter::HelpFormatter() { column_width(kNameColumns); }

std::string HelpFormatter::make_subcommand(const CLI::App* verb) const {
  const std::string description = verb->get_description();
  std::ostringstream out;
  CLI::detail::format_help(out, verb->get_name(), description.substr(0, description.find('\n')),
                           14);
  return out.str();
}

std::string HelpFormatter::make_option_desc(const CLI::Option* option) const {
  return wrapped(option->get_description(), kColumns - kNameColumns);
}

std::string HelpFormatter::make_footer(const CLI::App* verb) const {
  return verb->get_footer().empty() ? "" : verb->get_footer() + "\n";
}

}  // namespace suanli::cli
