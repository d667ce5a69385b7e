// What `suanli bench` prints.
#pragma once

#include <string>

#include "suanli/cli/output.h"
#include "suanli/train/bench_step.h"

namespace suanli::cli {

std::string bench_list_text();
Json bench_list_json();

// `runner` has run the bench.
std::string bench_text(const train::BenchCase& bench_case, const train::StepRunner& runner,
                       const train::BenchReport& report);
Json bench_json(const train::BenchCase& bench_case, const train::StepRunner& runner, const train::BenchReport& report);

// On stderr, if more threads ran than there are cores for them.
void warn_about_threads(const meter::Calibration& rates);

// One moving line while a bench runs.
std::string bench_progress_text(const train::BenchProgress& progress);

}  // namespace suanli::cli
