// A training job: a TOML file of sections and keys. The table in job_schema.cc is the one source of
// keys, defaults, ranges and documentation (docs/reference/job.md is printed from it).
//
//   SUANLI_ASSIGN_OR_RETURN(JobConfig job, load_job("bible.toml", {"train.lr=3e-4",
//   "run.cap=50G"}));
//
// Relative paths in a file are relative to the folder of that file; relative paths in an override
// are relative to the current folder, as the person types it there. Once loaded, all paths are
// absolute.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "suanli/base/error.h"

namespace suanli::train {

// What each key means, its unit and its range stand in job_schema.cc.
struct JobConfig {
  struct Model {
    std::int64_t layers = 6;
    std::int64_t heads = 6;
    std::int64_t width = 384;
    std::int64_t context = 256;
    std::int64_t vocab = 0;
    bool operator==(const Model&) const = default;
  } model;
  struct Data {
    std::string path;
    std::vector<std::string> sources;
    bool operator==(const Data&) const = default;
  } data;
  struct Train {
    std::int64_t steps = 1000;
    std::int64_t batch = 8;
    std::int64_t micro_batches = 1;
    double lr = 1e-3;
    double min_lr_ratio = 0.1;
    std::int64_t warmup_steps = 100;
    std::string schedule = "cosine";
    double weight_decay = 0.1;
    double beta1 = 0.9;
    double beta2 = 0.95;
    double eps = 1e-8;
    double clip_norm = 1.0;
    std::int64_t seed = 1;
    std::string init;
    std::string dtype = "auto";
    bool operator==(const Train&) const = default;
  } train;
  struct Grow {
    std::string to;
    std::string at;
    std::int64_t window = 50;
    double gain = 0.01;
    bool operator==(const Grow&) const = default;
  } grow;  // [train.grow]
  struct Pool {
    std::int64_t stages = 0;
    std::int64_t replicas = 0;
    std::string split;
    bool operator==(const Pool&) const = default;
  } pool;
  struct Codec {
    std::string forward = "none";
    std::string backward = "none";
    std::string weights = "none";
    double memory = 1024.0 * 1024 * 1024;
    double disk = 0;
    bool operator==(const Codec&) const = default;
  } codec;
  struct Local {
    std::int64_t inner_steps = 0;
    double outer_lr = 0.7;
    double outer_momentum = 0.9;
    std::int64_t fragments = 1;
    std::int64_t delay = 0;
    double keep_local = 0;
    bool operator==(const Local&) const = default;
  } local;
  struct Eval {
    std::int64_t every = 100;
    std::int64_t batches = 8;
    bool operator==(const Eval&) const = default;
  } eval;
  struct Checkpoint {
    std::int64_t every = 100;
    std::int64_t keep = 2;
    std::int64_t digest_every = 100;
    bool operator==(const Checkpoint&) const = default;
  } checkpoint;
  struct Sample {
    std::int64_t every = 0;
    std::string prompt = "\n";
    std::int64_t tokens = 100;
    bool operator==(const Sample&) const = default;
  } sample;
  struct Run {
    std::string dir;
    std::int64_t threads = 0;
    double memory_limit = 0;
    double cap = 0;
    double budget = 0;
    bool operator==(const Run&) const = default;
  } run;

  bool operator==(const JobConfig&) const = default;
};

// Larger files are refused.
inline constexpr std::int64_t kMaxJobBytes = std::int64_t{1} << 20;

// Reads a job from TOML text. `place` names the text in errors, which are of code config:
// "place:line", the key, the value and what is expected, or the nearest known key. Checks single
// values only; paths stay as they are.
[[nodiscard]] Result<JobConfig> parse_job(std::string_view text, const std::string& place);

// Sets one key from "section.key=value"; "arith=value" is short for "train.dtype=value". Errors of
// code usage have the whole override as their place.
[[nodiscard]] Status apply_override(JobConfig& job, std::string_view override_text);

// What no single key shows: heads divide width, a path is given, and the like (code config).
// `place` names the file.
[[nodiscard]] Status check_job(const JobConfig& job, const std::string& place);

// Transformer blocks of each stage as pool.split says; empty if it is, or if it is no such list (which check_job() refuses).
std::vector<std::int64_t> split_of(const JobConfig& job);

// File, overrides, paths and checks. Without run.dir, the run folder is "NAME.run" beside
// NAME.toml.
[[nodiscard]] Result<JobConfig> load_job(const std::string& path,
                                         std::span<const std::string> overrides = {});

// The whole job as TOML, every key with its value; parse_job reads the same job back.
std::string print_job(const JobConfig& job);

}  // namespace suanli::train
