#include "suanli/plan/job_host.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "suanli/plan/job_for_test.h"
#include "suanli/plan/profile_for_test.h"
#include "suanli/plan/program_time.h"

namespace suanli::plan {
namespace {

using ::testing::HasSubstr;

Accelerator device(const char* name) { return AcceleratorTable::built_in().find(name).value(); }

FleetMember member(const std::string& name, double share = 1, std::int64_t count = 1) {
  FleetMember one;
  one.machine.name = name;
  one.machine.profile = name + ".json";
  one.machine.share = share;
  one.machine.count = count;
  one.machine.place = "f.toml:1";
  one.profile = profile_for_test();
  return one;
}

Fleet fleet_of(const std::vector<FleetMember>& members, bool has_link) {
  Fleet fleet;
  for (const FleetMember& each : members) fleet.machines.push_back(each.machine);
  if (has_link) fleet.links.push_back({"", "", Seconds(0.001), BytesPerSecond(1e8)});
  return fleet;
}

TEST(JobHost, AProfilesStepIsTheTimeOfTheProgram) {
  const JobForTest job;
  const auto host = profile_host(profile_for_test(), "a.json", job.programs(), std::nullopt);
  ASSERT_TRUE(host) << host.error().to_string();
  EXPECT_EQ(host->compute, program_time(job.program, profile_for_test())->step_seconds);
  EXPECT_EQ(host->evaluation_batch, program_time(job.evaluation, profile_for_test())->step_seconds);
  EXPECT_EQ(host->sample_token, Interval());
  EXPECT_EQ(host->dense_peak, 192e9);
  EXPECT_THAT(host->compute_source, HasSubstr("a.json"));
}

TEST(JobHost, PowerIsGivenMeasuredOrMarkedAsAnEstimate) {
  const JobForTest job;
  Profile profile = profile_for_test();
  profile.busy_watts.reset();
  EXPECT_THAT(profile_host(profile, "a", job.programs(), std::nullopt)->watts_source, HasSubstr("estimate, not measured"));
  profile.busy_watts = Interval{40, 50, 60};
  const auto measured = profile_host(profile, "a", job.programs(), std::nullopt);
  EXPECT_THAT(measured->watts_source, HasSubstr("measured"));
  EXPECT_GE(measured->watts.expected, 50);
  EXPECT_EQ(profile_host(profile, "a", job.programs(), Watts(123))->watts, Interval::exactly(123));
}

TEST(JobHost, SnapshotsTakeTheLongerTheSlowerTheDisk) {
  const JobForTest job;
  Profile profile = profile_for_test();
  const double slow = profile_host(profile, "a", job.programs(), std::nullopt)->snapshot.write.expected;
  profile.disk->write = {1e9, 2e9, 3e9};
  EXPECT_LT(profile_host(profile, "a", job.programs(), std::nullopt)->snapshot.write.expected, slow);
  profile.disk.reset();
  EXPECT_THAT(profile_host(profile, "a", job.programs(), std::nullopt)->snapshot_source, HasSubstr("assumed"));
}

TEST(JobHost, AnAcceleratorIsARooflineAndSaysSo) {
  JobForTest job;
  job.program = engine::compile(job.graph, {.arithmetic = engine::Arithmetic::bf16}).value();
  const auto host = device_host(device("H100"), job.programs(), std::nullopt);
  ASSERT_TRUE(host) << host.error().to_string();
  EXPECT_EQ(host->dense_peak, device("H100").dense_peak.at("bf16").value.value());
  EXPECT_THAT(host->compute_source, HasSubstr("roofline, not measured"));
  ASSERT_FALSE(host->notes.empty());
  EXPECT_THAT(host->notes.front(), HasSubstr("suanli has not run on H100"));
  // No faster than the roofline, whatever the interval.
  double least = 0;
  EXPECT_EQ(device_rate(device("H100"), engine::Arithmetic::exact).error().code, ErrorCode::unsupported);
  const DeviceRate rate = device_rate(device("H100"), engine::Arithmetic::bf16).value();
  const auto add = [&](const std::vector<engine::KernelCall>& calls, double runs) {
    for (const engine::KernelCall& call : calls)
      least += runs * std::max(call.flops / rate.matmul.value(), call.bytes / device("H100").bandwidth->value.value());
  };
  add(job.program.forward, 6);
  add(job.program.backward, 6);
  add(job.program.update, 1);
  EXPECT_GT(host->compute.low, least);
  EXPECT_GT(host->compute.high / host->compute.low, 2);
}

TEST(JobHost, ADeviceWithoutTheArithmeticIsRefusedWithTheWayOut) {
  const JobForTest job;  // f32
  const auto host = device_host(device("V100"), job.programs(), std::nullopt);
  ASSERT_FALSE(host);
  EXPECT_EQ(host.error().code, ErrorCode::unsupported);
  EXPECT_THAT(host.error().next_step, HasSubstr("train.dtype=bf16"));
}

TEST(FleetHost, AFleetOfOneIsTheMachineAlone) {
  const JobForTest job;
  const std::vector<FleetMember> members = {member("a")};
  const auto fleet = fleet_host(fleet_of(members, false), members, job.programs());
  ASSERT_TRUE(fleet) << fleet.error().to_string();
  const auto alone = profile_host(profile_for_test(), "a", job.programs(), std::nullopt);
  EXPECT_NEAR(fleet->host.compute.expected, alone->compute.expected, 1e-12);
  EXPECT_EQ(fleet->host.communication, 0);
  EXPECT_EQ(fleet->shares[0].most, 6);
}

TEST(FleetHost, TwoAlikeHalveTheMicroBatchesAndPayTheLink) {
  const JobForTest job;
  const std::vector<FleetMember> members = {member("a", 1, 2)};
  const auto one = fleet_host(fleet_of({member("a")}, false), {member("a")}, job.programs());
  const auto two = fleet_host(fleet_of(members, true), members, job.programs());
  ASSERT_TRUE(two) << two.error().to_string();
  EXPECT_EQ(two->shares[0].least, 3);
  EXPECT_EQ(two->shares[0].most, 3);
  EXPECT_LT(two->host.compute.expected, 0.6 * one->host.compute.expected);
  const double bytes = 4.0 * static_cast<double>(graph::parameter_count(job.graph));
  EXPECT_NEAR(two->host.communication, bytes / 1e8 + 2 * 0.001, 1e-9);
  EXPECT_EQ(two->host.nodes, 2);
  EXPECT_DOUBLE_EQ(two->host.dense_peak, 2 * one->host.dense_peak);
  EXPECT_DOUBLE_EQ(two->host.watts.expected, 2 * one->host.watts.expected);
  EXPECT_THAT(two->host.notes.back(), HasSubstr("joint placement of stages, replicas and shares comes with the pool"));
}

TEST(FleetHost, HalfOfAMachineTakesHalfAsMuch) {
  const JobForTest job;
  const std::vector<FleetMember> members = {member("a"), member("b", 0.5)};
  const auto fleet = fleet_host(fleet_of(members, true), members, job.programs());
  ASSERT_TRUE(fleet) << fleet.error().to_string();
  EXPECT_EQ(fleet->shares[0].most, 4);
  EXPECT_EQ(fleet->shares[1].most, 2);
}

TEST(FleetHost, WithoutALinkTheErrorNamesBoth) {
  const JobForTest job;
  const std::vector<FleetMember> members = {member("a"), member("b")};
  const auto fleet = fleet_host(fleet_of(members, false), members, job.programs());
  ASSERT_FALSE(fleet);
  EXPECT_EQ(fleet.error().code, ErrorCode::config);
  EXPECT_THAT(fleet.error().message, HasSubstr("no link between 'a' and 'b'"));
  EXPECT_EQ(fleet.error().place, "f.toml:1");
}

TEST(FleetHost, AThousandMachinesWithLinksOfTheirOwnArePlanned) {
  const JobForTest job;
  std::vector<FleetMember> members;
  for (int i = 0; i < 1000; ++i) members.push_back(member("m" + std::to_string(i)));
  Fleet fleet = fleet_of(members, true);
  for (int i = 0; i + 1 < 1000; ++i)
    fleet.links.push_back({members[i].machine.name, members[i + 1].machine.name, Seconds(0.002), BytesPerSecond(1e9)});
  fleet.links.push_back({"m0", "m2", Seconds(5), BytesPerSecond(1e9)});
  const auto host = fleet_host(fleet, members, job.programs());
  ASSERT_TRUE(host) << host.error().to_string();
  EXPECT_EQ(host->members.size(), 6U);
  EXPECT_THAT(host->slowest_link, HasSubstr("m0 - m2"));
}

TEST(FleetHost, MoreMachinesThanMicroBatchesAreTold) {
  const JobForTest job;
  const std::vector<FleetMember> members = {member("a", 1, 8)};
  const auto fleet = fleet_host(fleet_of(members, true), members, job.programs());
  ASSERT_TRUE(fleet);
  ASSERT_EQ(fleet->host.warnings.size(), 1U);
  EXPECT_EQ(fleet->host.nodes, 6) << "who does nothing is neither counted nor paid";
  EXPECT_EQ(fleet->members[0].machine.count, 6);
  EXPECT_THAT(fleet->host.warnings[0].message,
              HasSubstr("2 of 8 machines have nothing to do and are left out: a step has 6 micro-batches"));
}

}  // namespace
}  // namespace suanli::plan
