#include "suanli/plan/founding.h"

#include <algorithm>

#include "suanli/base/text.h"
#include "suanli/base/units.h"
#include "suanli/plan/cluster.h"
#include "suanli/plan/large_run.h"
#include "suanli/plan/solve.h"

namespace suanli::plan {
namespace {

// What the documents take as given.
constexpr double kParameters = 405e9, kTokens = 15e12, kPublishedFlops = 3.8e25;  // Llama 3, arXiv:2407.21783
constexpr double kPublishedTokens = 15.6e12;
constexpr FlopsPerSecond kSparsePeak{1979e12}, kReachedRate{500e12};
constexpr double kEuroPerKwh = 0.083;
constexpr double kDays = 54;

// A run without anything but arithmetic: 6 N, full peak, no faults. Whether it fits a memory is not asked.
LargeRun ideal_run(Accelerator device, std::int64_t devices) {
  LargeRun run;
  device.memory.reset();
  run.cluster.device = std::move(device);
  run.cluster.devices = devices;
  run.cluster.peak = kSparsePeak;
  run.mfu = 1;
  run.counts_attention = false;
  run.counts_faults = false;
  return run;
}

class Reader {
 public:
  explicit Reader(Report report) : report_(std::move(report)) {}
  double operator[](std::string_view key) const {
    const Figure* figure = report_.find(key);
    SUANLI_CHECK(figure);
    return figure->value.expected;
  }

 private:
  Report report_;
};

Result<Reader> planned(LargeRun run, double parameters, double tokens) {
  run.model.parameters = parameters;
  run.tokens = tokens;
  SUANLI_ASSIGN_OR_RETURN(LargePlan plan, plan_large_run(run));
  return Reader(std::move(plan.report));
}

Result<Reader> largest_model(LargeRun run, double tokens, double days) {
  run.tokens = tokens;
  SolveQuestion question{
      .unknown = Unknown::parameters, .run = std::move(run), .days = days, .money = {}, .flops = {}, .tokens_per_parameter = {}};
  SUANLI_ASSIGN_OR_RETURN(Report report, solve(question));
  return Reader(std::move(report));
}

// As the documents count a cluster: 30,000 a device and as much again for the rest, twice the design power, 0.083 EUR/kWh.
ClusterSetup founding_cluster(const Accelerator& device, std::int64_t devices, double price = 30'000) {
  ClusterSetup setup;
  setup.device = device;
  setup.devices = devices;
  setup.peak = kSparsePeak;
  setup.price = Dollars(price);
  setup.surroundings_price = 1;
  setup.surroundings_power = 2;
  setup.overhead = given(1, "1");
  setup.electricity = given(kEuroPerKwh, "USD/kWh");  // a number is a number: the documents count in EUR
  return setup;
}

Result<Reader> costed(const ClusterSetup& setup, double days, std::optional<double> household_kwh_per_month = std::nullopt) {
  constexpr double kMonthHours = 720;
  ClusterQuestion question;
  question.days = days;
  if (household_kwh_per_month) question.household_watts = *household_kwh_per_month * 1000 / kMonthHours;
  SUANLI_ASSIGN_OR_RETURN(Report report, plan_cluster(setup, question));
  return Reader(std::move(report));
}

struct Devices {
  Accelerator h100, a100, v100;
};

Status add_llama(const Devices& devices, std::vector<FoundingFigure>& all) {
  const LargeRun run = ideal_run(devices.h100, 16'000);
  SUANLI_ASSIGN_OR_RETURN(const Reader stated, planned(run, kParameters, kTokens));
  // The published 3.8e25 in place of 6 N D.
  SUANLI_ASSIGN_OR_RETURN(const Reader published, planned(run, kParameters, kPublishedFlops / (6 * kParameters)));
  const double ideal_days = published["ideal_time_s"] / kSecondsPerDay;
  all.push_back({"llama405b_flops", "FLOPs of 405e9 parameters on 15e12 tokens", 3.645e25, stated["flops"], "FLOP",
                 Relation::agrees, "6 N D, attention left out",
                 "with attention, 12 L h s for a token, it is 8 % more; the published 3.8e25 is 6 N D of 15.6e12 tokens"});
  all.push_back({"peak_16000", "rate of 16,000 H100", 3.17e19, stated["peak_flops_per_s"], "FLOP/s", Relation::rounded,
                 "16,000 x 1,979 TFLOP/s, the bf16 peak with sparsity",
                 "1,979 is twice the dense 989 TFLOP/s, and holds only where half of all weights are zero, which training does "
                 "not have. It is also the dense fp8 "
                 "peak in numbers, which hides the slip. Dense bf16: 1.58e19 FLOP/s"});
  all.push_back({"ideal_days_16000", "ideal time on them", 14, ideal_days, "day", Relation::rounded,
                 "3.8e25 FLOP / 3.17e19 FLOP/s", "at the dense peak it is 27.8 days"});
  all.push_back({"quotient_seconds", "3.8e25 / 3.2e19 in seconds", 1.48e6,
                 (Flops(kPublishedFlops) / FlopsPerSecond(3.2e19)).value(), "s", Relation::errs, "a quotient",
                 "it is 1.19e6 s (13.7 days), not 1.48e6 (17.1 days)"});
  all.push_back({"days_42", "time at 38 to 43 % MFU", 42.5, 3.8e25 / 3.17e19 / 0.403 / kSecondsPerDay, "day", Relation::errs,
                 "3.8e25 / 3.17e19 over an MFU of 40.3 %; stated is the wrong 1.48e6 s over it",
                 "it stands beside 54 days in one sum: energy at 42.5 days is 22.8 GWh, at 54 days 29.0 GWh. The right quotient "
                 "over 40.3 % is 34 days, over the dense peak 69"});
  all.push_back({"slowdown", "54 days over 14", 3, kDays / ideal_days, "1", Relation::errs, "a quotient",
                 "54 days are 3.9 times the ideal 13.9, not three times"});
  LargeRun dense = run;
  dense.cluster.peak.reset();
  dense.mfu = 0.41;
  SUANLI_ASSIGN_OR_RETURN(const Reader real, planned(dense, kParameters, kPublishedFlops / (6 * kParameters)));
  all.push_back({"actual_days", "time that it took", kDays, real["compute_time_s"] / kSecondsPerDay, "day", Relation::unlike,
                 "3.8e25 FLOP at 41 % (38 to 43 %) of the dense peak of 16,000 H100",
                 "54 days are the part of the run in which Llama 3's interruptions were counted (section 3.3.4). At 38 to 43 % "
                 "of the dense peak the whole takes 65 to 73 "
                 "days, and its model card has 30.84 million hours: 78 days of 16,384 devices"});
  return {};
}

Status add_cluster_16000(const Devices& devices, std::vector<FoundingFigure>& all) {
  SUANLI_ASSIGN_OR_RETURN(const Reader cost, costed(founding_cluster(devices.h100, 16'000), kDays));
  const std::string price = "30,000 USD a device, and as much again for machines and network";
  all.push_back({"capital_16000", "capital of 16,000 devices", 960e6, cost["capital_usd"], "USD", Relation::agrees, price, ""});
  all.push_back({"devices_16000", "of that, devices", 480e6, cost["devices_usd"], "USD", Relation::agrees, price, ""});
  all.push_back({"rest_16000", "of that, the rest", 480e6, cost["surroundings_usd"], "USD", Relation::agrees, price, ""});
  all.push_back({"power_16000", "their power", 22.4e6, cost["power_w"], "W", Relation::agrees,
                 "16,000 x 700 W x 2, for all that surrounds them", "a DGX H100 draws at most 1.82 times its devices"});
  all.push_back({"energy_16000", "their energy in 54 days", 29.03e9 * 3600, cost["energy_j"], "J", Relation::rounded,
                 "22.4 MW x 54 days", ""});
  all.push_back(
      {"electricity_16000", "its price", 2.41e6, cost["electricity_usd"], "EUR", Relation::rounded, "0.083 EUR/kWh", ""});
  all.push_back({"electricity_share_16000", "training energy over capital", 0.0025, cost["electricity_share"], "fraction",
                 Relation::rounded, "2.41 million EUR / 960 million USD, currencies taken as equal", ""});
  return {};
}

Status add_cluster_100000(const Devices& devices, std::vector<FoundingFigure>& all) {
  constexpr std::int64_t kMany = 100'000;
  LargeRun run = ideal_run(devices.h100, kMany), reached = run;
  reached.cluster.peak = kReachedRate;
  SUANLI_ASSIGN_OR_RETURN(const Reader ideal, planned(run, kParameters, kPublishedFlops / (6 * kParameters)));
  SUANLI_ASSIGN_OR_RETURN(const Reader slower, planned(reached, kParameters, kPublishedFlops / (6 * kParameters)));
  all.push_back({"peak_100000", "rate of 100,000 H100", 1.979e20, ideal["peak_flops_per_s"], "FLOP/s", Relation::agrees,
                 "100,000 x 1,979 TFLOP/s, with sparsity", "dense: 9.89e19 FLOP/s"});
  all.push_back({"ideal_time_100000", "ideal time of the 405e9 model on them", 53 * 3600, ideal["ideal_time_s"], "s",
                 Relation::rounded, "3.8e25 FLOP / 1.979e20 FLOP/s", ""});
  all.push_back({"reached_days_100000", "the same at 500 TFLOP/s each", 9, slower["time_s"] / kSecondsPerDay, "day",
                 Relation::rounded, "3.8e25 FLOP / 5e19 FLOP/s", "500 TFLOP/s is an MFU of 51 %; Llama 3 reached 380 to 430"});
  SUANLI_ASSIGN_OR_RETURN(const Reader largest, largest_model(run, kTokens, 100));
  SUANLI_ASSIGN_OR_RETURN(const Reader smaller, largest_model(reached, kTokens, 100));
  all.push_back({"flops_100_days", "FLOPs of 100 days", 1.71e27, largest["flops"], "FLOP", Relation::rounded,
                 "1.979e20 FLOP/s x 8.64e6 s", ""});
  all.push_back({"largest_model", "parameters for 15e12 tokens", 19e12, largest["parameters"], "1", Relation::rounded,
                 "1.71e27 / (6 x 15e12)", "fewer than one token for each parameter, where about 20 are best"});
  all.push_back({"largest_model_reached", "the same at 500 TFLOP/s", 4.8e12, smaller["parameters"], "1", Relation::rounded,
                 "5e19 FLOP/s x 8.64e6 s / (6 x 15e12)", ""});
  SUANLI_ASSIGN_OR_RETURN(const Reader cost, costed(founding_cluster(devices.h100, kMany), 100, 800));
  SUANLI_ASSIGN_OR_RETURN(const Reader heated, costed(founding_cluster(devices.h100, kMany), 100, 1800));
  SUANLI_ASSIGN_OR_RETURN(const Reader discounted, costed(founding_cluster(devices.h100, kMany, 20'000), 100));
  all.push_back(
      {"power_100000", "power of 100,000 H100", 140e6, cost["power_w"], "W", Relation::agrees, "100,000 x 700 W x 2", ""});
  all.push_back({"energy_100000", "their energy in 100 days", 336e9 * 3600, cost["energy_j"], "J", Relation::agrees,
                 "140 MW x 100 days", ""});
  all.push_back({"energy_100000_misprint", "the same, as one place prints it", 33.6e9 * 3600, cost["energy_j"], "J",
                 Relation::errs, "140 MW x 100 days", "336 GWh, not 33.6; the price beside it is that of 336"});
  all.push_back(
      {"electricity_100000", "its price", 27.9e6, cost["electricity_usd"], "EUR", Relation::rounded, "0.083 EUR/kWh", ""});
  all.push_back({"capital_100000", "capital of 100,000 devices", 6e9, cost["capital_usd"], "USD", Relation::agrees,
                 "30,000 USD a device, and as much again", ""});
  all.push_back({"capital_100000_discounted", "the same, discounted", 4e9, discounted["capital_usd"], "USD", Relation::agrees,
                 "20,000 USD a device, a third less, and as much again", ""});
  all.push_back({"households_most", "households on 140 MW, at most", 126'000, cost["households"], "1", Relation::agrees,
                 "800 kWh a month of 30 days (1.11 kW): electricity alone", ""});
  all.push_back({"households_least", "households on 140 MW, at least", 56'000, heated["households"], "1", Relation::agrees,
                 "1,800 kWh a month of 30 days (2.5 kW): heat and all", ""});
  return {};
}

Status add_gpt(const Devices& devices, std::vector<FoundingFigure>& all) {
  LargeRun run = ideal_run(devices.v100, 10'000);
  run.cluster.peak.reset();
  run.cluster.dtype = "fp16";
  SUANLI_ASSIGN_OR_RETURN(const Reader gpt3, planned(run, 174.6e9, 300e9));
  all.push_back({"gpt3_petaflop_days", "GPT-3 in PFLOP/s-days", 3640, gpt3["flops"] / 1e15 / kSecondsPerDay, "1",
                 Relation::rounded, "6 x 174.6e9 x 300e9 (Brown et al., 2020, appendix D)", ""});
  constexpr double kDeviceYears = 355;
  constexpr double kFirstAnnounced = 120e12;  // FLOP/s of a V100's tensor cores, as of May 2017; 125e12 since
  const double reached = gpt3["flops"] / (kDeviceYears * 365.25 * kSecondsPerDay);
  const double efficiency = reached / kFirstAnnounced, of_peak = reached / (gpt3["peak_flops_per_s"] / 10'000);
  all.push_back(
      {"gpt3_efficiency", "efficiency of GPT-3's cluster", 0.23, efficiency, "fraction", Relation::rounded,
       format("355 V100-years, as was estimated from 28 TFLOP/s each, over the 120 TFLOP/s that were first announced (over the "
              "peak of 125 TFLOP/s %.1f %%)",
              100 * of_peak),
       "published since: 19.7 % (24.6 TFLOP/s, Patterson et al., 2021), 21.3 % with attention counted (PaLM, Table 3)"});
  run = ideal_run(devices.a100, 25'000);
  run.cluster.peak.reset();
  run.mfu = 0.32;
  SUANLI_ASSIGN_OR_RETURN(const Reader gpt4, largest_model(run, 13e12, 100));
  all.push_back({"gpt4_flops", "FLOPs of GPT-4", 2.15e25, gpt4["flops"], "FLOP", Relation::rounded,
                 "25,000 A100 for 100 days at 32 % MFU, of which it was estimated (90 to 100 days, 32 to 36 %); 277e9 active "
                 "parameters on 13e12 tokens",
                 ""});
  all.push_back({"gpt4_in_trillions", "the same as a multiple of 10^12", 21'500, 2.15e25 / 1e12, "1", Relation::errs,
                 "a quotient", "21,500 x 10^12 is 2.15e16; 2.15e25 is 2.15e13 x 10^12"});
  all.push_back({"gpt2_parameters", "parameters of GPT-2", 1.5e8, parameters_of_shape(48, 1600, 50'257, 1024), "1",
                 Relation::errs, "48 layers of width 1,600", "GPT-2 has 1.5e9 parameters, not 1.5e8"});
  SUANLI_ASSIGN_OR_RETURN(const Reader serving, [&]() -> Result<Reader> {
    ClusterSetup setup;
    setup.device = devices.a100;
    setup.devices = 30'000;
    setup.surroundings_price = 1;
    return costed(setup, 1);
  }());
  all.push_back({"serving_capital", "30,000 A100 for inference", 800e6, serving["capital_usd"], "USD", Relation::within,
                 "8,000 to 18,000 USD a device, and as much again: 480 to 1,080 million",
                 "800 million is 26,700 USD for each device with its share of a machine"});
  constexpr double kRentPerHour = 1.0;
  LargeRun rented = ideal_run(devices.a100, 30'000);
  rented.price_per_hour = kRentPerHour;
  SolveQuestion a_day{.unknown = Unknown::tokens, .run = rented, .days = 1, .money = {}, .flops = {}, .tokens_per_parameter = {}};
  a_day.run.model.parameters = 175e9;
  SUANLI_ASSIGN_OR_RETURN(Report day, solve(a_day));
  all.push_back({"serving_day", "their cost in a day", 0.7e6, Reader(std::move(day))["money_usd"], "USD", Relation::rounded,
                 "1 USD for a device and hour", "800 million USD written off over three years is 0.73 million a day"});
  return {};
}

void add_exchange(std::vector<FoundingFigure>& all) {
  const Flops first = FlopsPerSecond(35e12) * Seconds(600), second = FlopsPerSecond(50e12) * Seconds(60);
  all.push_back({"exchange_first", "35 TFLOP/s for 600 s", 21e15, first.value(), "FLOP", Relation::agrees, "rate x time",
                 "an amount: a FLOP is no rate, and neither system did 21 PFLOP in a second"});
  all.push_back({"exchange_second", "50 TFLOP/s for 60 s", 3e15, second.value(), "FLOP", Relation::agrees, "rate x time",
                 "an amount, as above"});
  all.push_back({"exchange_7", "rate of exchange between the two", 7, first / second, "1", Relation::agrees,
                 "1 : 7, of what each could have computed while it did the same work", ""});
  const char* observed =
      "1 : 7 above follows from its two times; these two are observations of other work, whose times are not stated";
  all.push_back({"exchange_3", "the same for other work", 3, std::nullopt, "1", Relation::measured, "1 : 3", observed});
  all.push_back({"exchange_6", "the same for other work", 6, std::nullopt, "1", Relation::measured, "1 : 6", observed});
  all.push_back({"clock", "3 GHz in cycles per second", 3e8, 3 * 1e9, "1/s", Relation::errs, "giga is 1e9",
                 "3 GHz is 3e9 per second, not 3e8"});
}

Result<std::vector<TimeStep>> missing_time(const Devices& devices) {
  std::vector<TimeStep> steps;
  LargeRun run = ideal_run(devices.h100, 16'000);
  const auto add = [&](std::string what, std::string why) -> Status {
    SUANLI_ASSIGN_OR_RETURN(const Reader plan, planned(run, kParameters, kPublishedTokens));
    steps.push_back({std::move(what), plan["time_s"] / kSecondsPerDay, std::move(why)});
    return {};
  };
  SUANLI_RETURN_IF_ERROR(add("ideal, as stated", "6 N D over 16,000 x 1,979 TFLOP/s"));
  run.cluster.peak.reset();
  SUANLI_RETURN_IF_ERROR(add("dense peak", "989 TFLOP/s: weights are not half zeros"));
  run.counts_attention = true;
  run.model.layers = 126;
  run.model.width = 16'384;
  run.model.heads = 128;
  run.model.context = 8192;
  SUANLI_RETURN_IF_ERROR(add("attention", "12 L h s FLOPs more for a token, which published MFU counts"));
  run.mfu = 0.41;
  SUANLI_RETURN_IF_ERROR(
      add("MFU of 41 %", "38 to 43 % were published: products below their peak, communication, pipeline bubble"));
  run.counts_faults = true;
  run.fault_preset = "llama3";
  SUANLI_RETURN_IF_ERROR(
      add("faults, snapshots, other stops", "a fault every three hours; its detection and restart; evaluation and maintenance"));
  return steps;
}

}  // namespace

const char* name_of(Relation relation) {
  switch (relation) {
    case Relation::agrees: return "agrees";
    case Relation::rounded: return "rounded";
    case Relation::within: return "within our interval";
    case Relation::errs: return "errs";
    case Relation::unlike: return "is another quantity";
    case Relation::measured: return "measured";
  }
  return "";
}

const FoundingFigure* Founding::find(std::string_view key) const {
  const auto found = std::ranges::find(figures, key, &FoundingFigure::key);
  return found == figures.end() ? nullptr : &*found;
}

Result<Founding> founding() {
  const AcceleratorTable table = AcceleratorTable::built_in();
  Devices devices;
  SUANLI_ASSIGN_OR_RETURN(devices.h100, table.find("H100-SXM-80GB"));
  SUANLI_ASSIGN_OR_RETURN(devices.a100, table.find("A100-SXM-80GB"));
  SUANLI_ASSIGN_OR_RETURN(devices.v100, table.find("V100-SXM2-32GB"));
  Founding all;
  SUANLI_RETURN_IF_ERROR(add_llama(devices, all.figures));
  SUANLI_RETURN_IF_ERROR(add_cluster_16000(devices, all.figures));
  SUANLI_RETURN_IF_ERROR(add_cluster_100000(devices, all.figures));
  SUANLI_RETURN_IF_ERROR(add_gpt(devices, all.figures));
  add_exchange(all.figures);
  SUANLI_ASSIGN_OR_RETURN(all.missing_time, missing_time(devices));
  return all;
}

}  // namespace suanli::plan
