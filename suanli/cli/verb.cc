#include "suanli/cli/verb.h"
#include "suanli/train/job.h"

#include <CLI/CLI.hpp>
#include <utility>

namespace suanli::cli {
namespace {

constexpr std::size_t kHelpColumns = 92;

// A flag with an empty value would pass for one that is not given: a script's variable that is not set, most likely.
std::string refuse_empty(const std::string& given) {
  return given.empty() ? "its value is empty: give one, or leave the flag out" : "";
}

}  // namespace

Verb Verb::verb(const std::string& name, const std::string& line, const std::string& paragraph,
                std::initializer_list<Example> examples) {
  CLI::App* verb =
      app_->add_subcommand(name, line + "\n\n" + wrapped(paragraph, kHelpColumns) + "\n");
  std::string footer = "Examples:";
  for (const Example& example : examples)
    footer += "\n  suanli " + example.command + "\n      " + example.what;
  verb->footer(footer);
  return Verb(verb);
}

void Verb::needs_verb() { app_->require_subcommand(1); }

void Verb::argument(const std::string& name, std::string& value, const std::string& help) {
  app_->add_option(name, value, help)->required();
}

void Verb::optional_argument(const std::string& name, std::string& value, const std::string& help) {
  app_->add_option(name, value, help);
}

void Verb::arguments(const std::string& name, std::vector<std::string>& values,
                     const std::string& help) {
  app_->add_option(name, values, help)->required();
}

void Verb::flag(const std::string& name, bool& value, const std::string& help) {
  app_->add_flag(name, value, help);
}

void Verb::option(const std::string& name, std::string& value, const std::string& help,
                  const std::string& kind, bool required) {
  CLI::Option* option = app_->add_option(name, value, help)->required(required)->check(refuse_empty);
  if (!kind.empty()) option->type_name(kind);
  if (!value.empty() && value != "\n") option->capture_default_str();
}

void Verb::option(const std::string& name, double& value, const std::string& help) {
  app_->add_option(name, value, help)->capture_default_str();
}

void Verb::option(const std::string& name, std::uint64_t& value, const std::string& help) {
  // CLI11 would take -1 for 2^64 - 1.
  const auto not_negative = [](const std::string& given) {
    return given.starts_with('-') ? given + " is negative" : std::string();
  };
  app_->add_option(name, value, help)->capture_default_str()->check(not_negative);
}

void Verb::option(const std::string& name, std::int64_t& value, const std::string& help,
                  std::int64_t least, std::int64_t most) {
  app_->add_option(name, value, help)
      ->capture_default_str()
      ->check(CLI::Range(least, most))
      ->type_name("INT");
}

void Verb::choice(const std::string& name, std::string& value, std::vector<std::string> choices,
                  const std::string& help) {
  CLI::Option* option =
      app_->add_option(name, value, help)->check(CLI::IsMember(std::move(choices)));
  if (value.empty())
    option->required();
  else
    option->capture_default_str();
}

void Verb::repeated(const std::string& name, std::vector<std::string>& values,
                    const std::string& help) {
  app_->add_option(name, values, help)->allow_extra_args(false)->check(refuse_empty);
}

void Verb::json_flag(bool& json) {
  flag("--json", json, "Print JSON on standard output (`suanli help cli-json`)");
}

void Verb::set_option(std::vector<std::string>& sets) {
  repeated("--set", sets, "section.key=value instead of the job's; may be repeated");
}

void Verb::when_chosen(std::function<void()> call) { app_->callback(std::move(call)); }

Status apply_flag(std::vector<std::string>& sets, const std::string& key, const std::string& flag, const std::string& value) {
  if (value.empty()) return {};
  for (const std::string& stated : sets)
    if (stated.starts_with(key + "="))
      return fail(ErrorCode::usage, flag + " and --set " + key + " contradict each other: both say the same of the job", flag,
                  "leave one of them out");
  const std::string set = key + "=" + value;
  train::JobConfig trial;
  if (Status status = train::apply_override(trial, set); !status) {
    status.error().place = flag;
    return status;
  }
  sets.push_back(set);
  return {};
}

}  // namespace suanli::cli
