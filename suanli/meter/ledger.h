// What a run used: operations, bytes, tokens, steps, and where each second went.
//
//   Ledger ledger(clock, usage_so_far);
//   {
//     const Ledger::Timer timer(ledger, Cause::forward);
//     run_forward();
//   }
//   ledger.book(Part::forward, forward_work);
//
// From its construction on, every second is booked on exactly one cause: that of the innermost
// Timer alive, or `other`. So the causes add up to the wall time, over all sessions of a resumed
// run.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "suanli/base/clock.h"
#include "suanli/base/units.h"
#include "suanli/engine/program.h"
#include "suanli/graph/graph.h"

namespace suanli::meter {

enum class Cause : std::uint8_t {
  data,  // reading samples
  forward,
  backward,
  update,
  communication,  // with other machines: 0 on one
  evaluate,
  checkpoint,  // what of saving the run had to wait for
  waiting,     // held back by the rate cap
  metering,    // keeping these very records
  other,
};
inline constexpr std::array kCauses = {Cause::data,          Cause::forward,  Cause::backward,   Cause::update,
                                       Cause::communication, Cause::evaluate, Cause::checkpoint, Cause::waiting,
                                       Cause::metering,      Cause::other};
std::string_view name_of(Cause cause);
std::optional<Cause> cause_from_name(std::string_view name);

// What is run: each has a fixed cost, so that counting its runs counts its operations, by op too.
enum class Part : std::uint8_t {
  forward,     // of one micro-batch
  backward,
  update,      // of one step
  evaluation,  // of one batch
  sample,      // of one token of generated text
};
inline constexpr std::array kParts = {Part::forward, Part::backward, Part::update, Part::evaluation, Part::sample};
std::string_view name_of(Part part);

// Operations, by the op that did them.
struct Work {
  Flops total;
  std::map<std::string, Flops, std::less<>> by_op;
  Bytes moved{};  // read and written by the kernel calls; 0 where no program is known

  Work& operator+=(const Work& other);
};

// One run of all live nodes of `phase`, as written in the graph (before fusion).
Work work_of(const graph::Graph& graph, graph::Phase phase);
// The same, with the bytes that the calls of its compiled program move.
Work work_of(const graph::Graph& graph, graph::Phase phase, const engine::Program& program);

// What is counted of a run, beside its operations.
struct Totals {
  std::array<Seconds, kCauses.size()> seconds{};     // by Cause
  std::array<std::int64_t, kParts.size()> runs{};    // by Part
  Seconds cpu;            // of all cores together, by this process
  Joules joules;          // as the machine counts them (energy.h), whatever else it did; not known: 0
  Seconds joules_over;    // the part of the time in which they were counted
  Bytes peak_resident;    // memory of this process, the most

  Seconds of(Cause cause) const { return seconds[static_cast<std::size_t>(cause)]; }
  Seconds& of(Cause cause) { return seconds[static_cast<std::size_t>(cause)]; }
  std::int64_t runs_of(Part part) const { return runs[static_cast<std::size_t>(part)]; }
  std::int64_t& runs_of(Part part) { return runs[static_cast<std::size_t>(part)]; }
  Seconds total_seconds() const;
};

struct Usage : Totals {
  Work work;
  Tokens tokens;
  std::int64_t steps = 0;
};

// One thread.
class Ledger {
 public:
  explicit Ledger(Clock& clock, Usage start = {});

  // One run of `part`.
  void book(Part part, const Work& work);
  void book_step(Tokens tokens);
  // Books up to `amount` of the seconds of `from` on `to` instead: waiting is known only after the
  // phase it was in.
  void move(Cause from, Cause to, Seconds amount);

  // Up to now.
  const Usage& usage();
  // For what no clock tells (gauges.h).
  Totals& totals() { return usage_; }

  class Timer {
   public:
    Timer(Ledger& ledger, Cause cause) : ledger_(ledger), before_(ledger.turn_to(cause)) {}
    ~Timer() { ledger_.turn_to(before_); }
    Timer(const Timer&) = delete;
    Timer& operator=(const Timer&) = delete;

   private:
    Ledger& ledger_;
    Cause before_;
  };

 private:
  Cause turn_to(Cause cause);  // returns the cause before
  Clock& clock_;
  Usage usage_;
  Seconds since_;
  Cause current_ = Cause::other;
};

}  // namespace suanli::meter
