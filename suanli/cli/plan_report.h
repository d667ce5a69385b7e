// How reports of plan/ are shown: one way for all verbs.
#pragma once

#include <string>
#include <string_view>

#include "suanli/cli/output.h"
#include "suanli/plan/report.h"

namespace suanli::cli {

inline constexpr const char* kWhyFlagHelp = "Explain each figure: its formula, its assumptions, what makes it uncertain";

// "1.49 Ms (17 d 6 h)" and the like, for a value in a unit of plan/report.h.
std::string value_text(double value, std::string_view unit);
std::string interval_text(const plan::Interval& interval, std::string_view unit);

// {"low", "expected", "high"}: the one form of an interval in JSON.
Json json_of(const plan::Interval& interval);

// A table of figures; with `why`, below each its formula, and all assumptions with their sources, and the notes.
std::string plan_text(const plan::Report& report, bool why);
// {"figures": {KEY: {"low", "expected", "high", "unit", "why", "influences"}}, "assumptions": [...], "warnings": [...],
// "notes": [...]}: what records of json_records.h that end so have in common.
Json plan_json(const plan::Report& report);

// Warnings to stderr, then the report to stdout. With `json` as one object of `record`, which begins with the fields of `head`.
void print_plan(std::string_view record, const plan::Report& report, bool json, bool why, Json head = Json::object());

}  // namespace suanli::cli
