// The rate of exchange between two devices: how much of B's computing one unit of A's is worth. It differs from arithmetic to
// arithmetic, from shape to shape and from job to job, so it is a table, not a number.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/engine/program.h"
#include "suanli/engine/target.h"
#include "suanli/plan/interval.h"
#include "suanli/plan/profile.h"
#include "suanli/plan/program_time.h"

namespace suanli::plan {

// b / a of two figures that vary independently: the deviations of their logarithms add up as squares.
Interval ratio_of(const Interval& a, const Interval& b);

// One side of a comparison: a profile, and in which of its arithmetics products and jobs are to be computed; none: each figure
// is compared in the same arithmetic on both sides.
struct Side {
  const Profile* profile = nullptr;
  std::optional<engine::Arithmetic> arithmetic;
};

struct Exchange {
  std::string group;    // "limit", "matrix product", "memory", "disk", "other"
  std::string subject;  // "bf16 matrix product (square)", or of two arithmetics "f32 : bf16 matrix product (square)"
  std::string unit;     // of a and b, larger is better: "FLOP/s", "B/s", "1/s"
  Interval a, b;
  Interval ratio;   // b / a: "1 : ratio"
  std::string why;  // what a person should know about this row
};
// What both profiles hold: limits, products by class of shape, memory, launches, disk. Products of different sizes (profiles of
// different builds) are left out.
std::vector<Exchange> exchange_of_devices(const Side& a, const Side& b);

// A part of a job's step on both sides.
struct ExchangePart {
  std::string name;  // "products", "attention", "vocabulary", "norms and elementwise", "update", "between calls"
  double a_seconds = 0, b_seconds = 0;
  double a_memory_share = 0, b_memory_share = 0;  // of these seconds, in calls that memory bounds
};
struct JobExchange {
  std::string job;
  engine::Arithmetic a_arithmetic = engine::Arithmetic::f32, b_arithmetic = engine::Arithmetic::f32;
  double flops = 0;               // of a step, by the graph
  Interval a_seconds, b_seconds;  // of a step
  Interval ratio;                 // a_seconds / b_seconds: how many steps B makes in one of A's
  std::vector<ExchangePart> parts;
};
// Of one job compiled for each side; both are the same where the arithmetic is.
Result<JobExchange> exchange_of_job(const std::string& job, const engine::Program& a_program, const Profile& a,
                                    const engine::Program& b_program, const Profile& b);

}  // namespace suanli::plan
