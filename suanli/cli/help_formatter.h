// Help texts: verbs with one line each, descriptions wrapped.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace suanli::cli {

class HelpFormatter final : public CLI::Formatter {
 public:
  HelpFormatter();
  std::string make_subcommand(const CLI::App* verb) const override;
  std::string make_option_desc(const CLI::Option* option) const override;
  std::string make_footer(const CLI::App* verb) const override;
};

}  // namespace suanli::cli
