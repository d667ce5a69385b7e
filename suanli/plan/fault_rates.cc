#include "suanli/plan/fault_rates.h"

#include <algorithm>
#include <array>
#include <limits>

#include "suanli/base/text.h"

namespace suanli::plan {
namespace {

// A rate counted on one cluster tells of another what two clusters of one operator tell of each other: Meta's RSC-1 and RSC-2
// differ 2.8-fold, so each lies a factor 1.67 from their middle.
constexpr double kSpread = 1.67;
constexpr Interval elsewhere(double rate) { return {rate / kSpread, rate, rate * kSpread}; }

constexpr std::array kPresets = {
    FaultPreset{"typical", "nodes of a cluster, as published", {0.0023, 0.0065, 0.016}, 8, false,
                "between the presets rsc2 and opt; expected: rsc1, the largest published fleet of mixed jobs"},
    FaultPreset{"rsc2", "Meta's RSC-2 research cluster", elsewhere(0.00234), 8, false,
                "Meta, Revisiting Reliability in Large-Scale ML Research Clusters, HPCA 2025"},
    FaultPreset{"llama3", "16,384 H100 of the Llama 3 405B run", elsewhere(0.00379), 8, true,
                "419 unexpected interruptions in 54 days on 2,048 nodes, arXiv:2407.21783 Table 5"},
    FaultPreset{"bloom", "48 nodes of the BLOOM run", {0.003, 0.0043, 0.006}, 8, false,
                "one to two GPUs a week, BLOOM chronicles and arXiv:2211.05100"},
    FaultPreset{"rsc1", "Meta's RSC-1 research cluster", elsewhere(0.0065), 8, false,
                "Meta, Revisiting Reliability in Large-Scale ML Research Clusters, HPCA 2025"},
    FaultPreset{"alibaba", "an Alibaba cluster", elsewhere(0.015), 8, false, "survey of published clusters"},
    FaultPreset{"opt", "124 nodes of the OPT-175B run", elsewhere(0.016), 8, true,
                "about two machines a day, OPT-175B logbook and arXiv:2205.01068"},
    FaultPreset{"ant", "Ant Group's clusters", elsewhere(0.021), 8, true,
                "8 % of GPUs a month, DLRover documents"},
    FaultPreset{"preemptible", "single preemptible GPUs of a cloud", {1.0, 2.0, 4.0}, 1, true,
                "127 preemptions of 64 GPUs in 24 h, Bamboo (arXiv:2204.12013)"},
};

// Of Meta's jobs, what their nodes' hardware (RSC-1) does not explain: 1/47 days on one node leaves 0.0148 a day, 1/7.9 h on
// 128 nodes 2.2 a day, so 0.0155 per node between them. Llama 3's job of 2,048 nodes counted 92 of 419 that were not hardware in
// 54 days: 1.7 a day, not more than one of 128 nodes.
constexpr double kSoftwareFaultsPerNodeDay = 0.0155;
constexpr double kMostSoftwareFaultsPerDay = 2.0;
constexpr double kSoftwareSpread = 3.0;
constexpr const char* kSoftwareSource =
    "what hardware does not explain of the times between faults in Meta, HPCA 2025 (1 and 128 nodes), and arXiv:2407.21783 "
    "(2,048 nodes)";

}  // namespace

std::span<const FaultPreset> fault_presets() { return kPresets; }

Result<FaultPreset> fault_preset(std::string_view name) {
  std::vector<std::string> known;
  std::string list;
  for (const FaultPreset& each : kPresets) {
    if (each.name == name) return each;
    known.emplace_back(each.name);
    list += (list.empty() ? "" : ", ") + known.back();
  }
  return fail(ErrorCode::usage, "there is no fault preset '" + printable(name) + "'" + did_you_mean(name, known), "",
              "known are " + list + "; or state the mean time between faults");
}

Interval software_faults_per_day(double nodes) {
  // A part of a node runs as much of it as a node.
  const double rate = std::min(kSoftwareFaultsPerNodeDay * std::max(nodes, 1.0), kMostSoftwareFaultsPerDay);
  return {rate / kSoftwareSpread, rate, rate * kSoftwareSpread};
}

std::vector<Assumption> fault_assumptions(const FaultPreset& preset, double nodes, int devices_per_node) {
  const double scale = static_cast<double>(devices_per_node) / preset.devices_per_node;
  const Interval rate{preset.per_node_day.low * scale, preset.per_node_day.expected * scale, preset.per_node_day.high * scale};
  const std::string of_devices = scale == 1 ? "" : format(", carried over to nodes of %d devices", devices_per_node);
  std::vector<Assumption> assumptions = {{"faults_per_node_day",
                                          "interruptions of one node in a day: " + std::string(preset.text), rate, "1/day",
                                          std::string(preset.source) + of_devices}};
  if (preset.has_software)
    assumptions.push_back({"software_faults_per_day", "interruptions of the job in a day by software", Interval::exactly(0),
                           "1/day", "counted in the rate of the nodes"});
  else
    assumptions.push_back({"software_faults_per_day", "interruptions of the job in a day by software and its own code",
                           software_faults_per_day(nodes), "1/day", kSoftwareSource});
  return assumptions;
}

std::vector<Assumption> given_fault_assumptions(Seconds mean_time_between_faults, double nodes) {
  const double per_day = 86400 / mean_time_between_faults.value();
  return {{"faults_per_node_day", "interruptions of one node in a day", Interval::exactly(per_day / nodes), "1/day",
           "given: one fault of the job in " + format_duration(mean_time_between_faults)},
          {"software_faults_per_day", "interruptions of the job in a day by software", Interval::exactly(0), "1/day",
           "counted in what is given"}};
}

double mean_time_between_faults(const Values& values, double nodes) {
  const double per_day = values["faults_per_node_day"] * nodes + values["software_faults_per_day"];
  return per_day > 0 ? 86400 / per_day : std::numeric_limits<double>::infinity();
}

std::vector<Assumption> recovery_assumptions() {
  return {{"detection_s", "until a fault is noticed", {60, 300, 1800}, "s",
           "MegaScale (NSDI 2024): under 10 min with its diagnosis; 30 min where a collective's timeout must pass"},
          {"restart_s", "until the job runs again from its snapshot", {60, 300, 1200}, "s",
           "MegaScale (NSDI 2024): catching up takes under 15 min; GEMINI (SOSP 2023): 10-20 min from remote storage"}};
}

}  // namespace suanli::plan
