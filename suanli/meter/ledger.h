// What a run used: operations, tokens, steps, and where each second went.
//
//   Ledger ledger(clock, usage_so_far);
//   {
//     const Ledger::Timer timer(ledger, Cause::forward);
//     run_forward();
//   }
//   ledger.book(forward_work);
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
#include "suanli/graph/graph.h"

namespace suanli::meter {

enum class Cause : std::uint8_t {
  data,  // reading samples
  forward,
  backward,
  update,
  evaluate,
  checkpoint,  // what of saving the run had to wait for
  waiting,     // held back by the rate cap
  other,
};
inline constexpr std::array kCauses = {Cause::data,    Cause::forward,  Cause::backward,
                                       Cause::update,  Cause::evaluate, Cause::checkpoint,
                                       Cause::waiting, Cause::other};
std::string_view name_of(Cause cause);
std::optional<Cause> cause_from_name(std::string_view name);

// Operations, by the op that did them.
struct Work {
  Flops total;
  std::map<std::string, Flops, std::less<>> by_op;

  Work& operator+=(const Work& other);
};

// One run of all live nodes of `phase`, as written in the graph (before fusion).
Work work_of(const graph::Graph& graph, graph::Phase phase);

struct Usage {
  Work work;
  Tokens tokens;
  std::int64_t steps = 0;
  std::array<Seconds, kCauses.size()> seconds{};  // by Cause

  Seconds of(Cause cause) const { return seconds[static_cast<std::size_t>(cause)]; }
  Seconds& of(Cause cause) { return seconds[static_cast<std::size_t>(cause)]; }
  Seconds total_seconds() const;
};

// One thread.
class Ledger {
 public:
  explicit Ledger(Clock& clock, Usage start = {});

  void book(const Work& work) { usage_.work += work; }
  void book_step(Tokens tokens);
  // Books up to `amount` of the seconds of `from` on `to` instead: waiting is known only after the
  // phase it was in.
  void move(Cause from, Cause to, Seconds amount);

  // Up to now.
  const Usage& usage();

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
