#include "suanli/train/job_schema.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "suanli/base/text.h"
#include "suanli/train/codecs.h"

namespace suanli::train {
namespace {

constexpr std::int64_t kMostSteps = 1'000'000'000;
constexpr std::size_t kMostListed = 32;
constexpr std::int64_t kMostInteger = std::numeric_limits<std::int64_t>::max();

// A captureless lambda that names one field.
#define FIELD(member) +[](JobConfig& job) -> decltype((job.member)) { return job.member; }

std::vector<Key> make_keys() {
  constexpr bool kFixed = true;
  return {
      {"model", "layers", IntegerKey{FIELD(model.layers), 1, 1000}, "Transformer blocks.", kFixed},
      {"model", "heads", IntegerKey{FIELD(model.heads), 1, 1024},
       "Attention heads; must divide the width.", kFixed},
      {"model", "width", IntegerKey{FIELD(model.width), 1, 65536},
       "Channels of the residual stream.", kFixed},
      {"model", "context", IntegerKey{FIELD(model.context), 1, 1 << 20}, "Tokens per sequence.",
       kFixed},
      {"model", "vocab", IntegerKey{FIELD(model.vocab), 0, std::int64_t{1} << 31},
       "Size of the vocabulary; 0: that of the dataset, which is also the least.", kFixed},

      {"data", "path", TextKey{FIELD(data.path), true},
       "The dataset's folder, as written by `suanli data load`. Required."},
      {"data", "sources", ListKey{FIELD(data.sources), "URLs"},
       "On a pool: where its workers find the dataset's folder besides, so that they need not bring it from the submitter: web "
       "servers (http://, https://) and S3 (s3://BUCKET/PREFIX). A worker asks the job's other workers first, then these in "
       "their order, the submitter last. It reads S3's keys, region and address from its own environment, as AWS's tools do "
       "(docs/protocols/shards.md)."},

      {"train", "steps", IntegerKey{FIELD(train.steps), 1, kMostSteps},
       "Optimizer steps of the whole run."},
      {"train", "batch", IntegerKey{FIELD(train.batch), 1, 65536}, "Sequences per micro-batch.",
       kFixed},
      {"train", "micro_batches", IntegerKey{FIELD(train.micro_batches), 1, 65536},
       "Micro-batches per step, whose gradients are summed before the update.", kFixed},
      {"train", "lr", RealKey{FIELD(train.lr), 0, 1e6}, "Learning rate after the warm-up.", kFixed},
      {"train", "min_lr_ratio", RealKey{FIELD(train.min_lr_ratio), 0, 1},
       "Where the schedule ends, as a fraction of lr.", kFixed},
      {"train", "warmup_steps", IntegerKey{FIELD(train.warmup_steps), 0, kMostSteps},
       "Steps over which the learning rate rises linearly to lr; at most steps.", kFixed},
      {"train", "schedule", ChoiceKey{FIELD(train.schedule), {"cosine", "linear", "constant"}},
       "How the learning rate falls after the warm-up.", kFixed},
      {"train", "weight_decay", RealKey{FIELD(train.weight_decay), 0, 1e6},
       "AdamW's decoupled decay, on weight matrices only.", kFixed},
      {"train", "beta1", RealKey{FIELD(train.beta1), 0, 1, false, true},
       "AdamW: decay of the gradient's mean.", kFixed},
      {"train", "beta2", RealKey{FIELD(train.beta2), 0, 1, false, true},
       "AdamW: decay of the squared gradient's mean.", kFixed},
      {"train", "eps", RealKey{FIELD(train.eps), 0, 1, true},
       "AdamW: added to the root of the squared gradient's mean.", kFixed},
      {"train", "clip_norm", RealKey{FIELD(train.clip_norm), 0, 1e9},
       "Largest global norm of the gradient; above it the gradient is scaled down. 0: no clipping.",
       kFixed},
      {"train", "seed", IntegerKey{FIELD(train.seed), 0, kMostInteger},
       "Names the initial weights and the order of the samples.", kFixed},
      {"train", "init", TextKey{FIELD(train.init), true},
       "Folder of a run whose newest checkpoint gives the initial weights (fine-tuning); its [model] must be the same. Empty: "
       "drawn from the seed.",
       kFixed},
      {"train", "dtype", ChoiceKey{FIELD(train.dtype), {"auto", "f32", "bf16", "exact"}},
       "Arithmetic of matrix products; bf16 accumulates in f32 and keeps f32 weights. exact: every "
       "bit of the weights is the same on every CPU and instruction set, with any number of threads "
       "(docs/formats/exact-arithmetic.md). auto: bf16 where the CPU has AMX tiles for it, else f32. "
       "`--set arith=exact` is short for `--set train.dtype=exact`.",
       kFixed},

      {"train.grow", "to", TextKey{FIELD(grow.to)},
       "Sizes that the model takes on while it trains, LAYERSxWIDTH, such as \"4x192,8x384\"; [model] is what it begins with. A "
       "width is a whole multiple of the one before, heads keep their size. What the model computes stays the same at each "
       "change (function-preserving copies), and so does the optimizer's memory. Empty: it stays as it is."},
      {"train.grow", "at", TextKey{FIELD(grow.at)},
       "Steps after which it takes them on, such as \"400,900\". Empty: when the loss falls too slowly."},
      {"train.grow", "window", IntegerKey{FIELD(grow.window), 2, kMostSteps},
       "Without steps: the mean loss of so many steps is compared with that of as many before."},
      {"train.grow", "gain", RealKey{FIELD(grow.gain), 0, 1},
       "Without steps: the model grows when that mean has fallen by less than this part."},

      {"pool", "stages", IntegerKey{FIELD(pool.stages), 0, 1'002},
       "On a pool: stages of the pipeline. 0: as many as make the step short."},
      {"pool", "replicas", IntegerKey{FIELD(pool.replicas), 0, 1'024},
       "On a pool: workers of each stage. 0: as many as make the step short, not of each the same."},
      {"pool", "split", TextKey{FIELD(pool.split)},
       "On a pool: transformer blocks of each stage, such as \"4,4,2\"; then a run with codecs has the same bits again. "
       "Empty: cut by the workers' speed and memory."},

      {"codec", "forward", ChoiceKey{FIELD(codec.forward), forward_codec_names()},
       "On a pool: how activations cross from stage to stage. aqN: AQ-SGD, the change since the sample's last visit in N bits an "
       "element, in full at the first: for data that is seen more than once, at its best in fine-tuning (docs/benchmarks.md). "
       "directN: N bits, nothing kept. none: f32."},
      {"codec", "backward", ChoiceKey{FIELD(codec.backward), backward_codec_names()},
       "On a pool: how gradients of activations cross back. directN: N bits an element, rounded at random so that the mean is "
       "right. none: f32."},
      {"codec", "weights", ChoiceKey{FIELD(codec.weights), weight_codec_names()},
       "On a pool: how replicas of a stage exchange gradients, or with local.inner_steps what they have moved. efN: N bits an "
       "element, what rounding lost is added to the next (error feedback). topk: with error feedback the largest 1/64 of the "
       "elements. none: f32."},
      {"codec", "memory", ScaledKey{FIELD(codec.memory), "bytes"},
       "Of each worker, for the activations that AQ-SGD keeps of each sample. What has no room is sent in full."},
      {"codec", "disk", ScaledKey{FIELD(codec.disk), "bytes"},
       "Of each worker's disk, for those that have no room in memory. 0: none."},

      {"local", "inner_steps", IntegerKey{FIELD(local.inner_steps), 0, kMostSteps},
       "On a pool: steps that each replica makes by itself between two exchanges (DiLoCo). After the last of train.steps there "
       "is an exchange in any case. 0: gradients are exchanged in every step.", kFixed},
      {"local", "outer_lr", RealKey{FIELD(local.outer_lr), 0, 100, true},
       "Learning rate of the step on what the replicas have moved.", kFixed},
      {"local", "outer_momentum", RealKey{FIELD(local.outer_momentum), 0, 1, false, true}, "Its Nesterov momentum.", kFixed},
      {"local", "fragments", IntegerKey{FIELD(local.fragments), 1, 10'000},
       "Parts of the model that are exchanged in turn, so that less is sent at once.", kFixed},
      {"local", "delay", IntegerKey{FIELD(local.delay), 0, kMostSteps},
       "Inner steps during which an exchange goes on before it is applied; less than inner_steps.", kFixed},
      {"local", "keep_local", RealKey{FIELD(local.keep_local), 0, 1, false, true},
       "The part of its own weights that a replica keeps when an exchange is applied; must be 0 without a delay, 0.5 is usual "
       "with one.",
       kFixed},

      {"eval", "every", IntegerKey{FIELD(eval.every), 0, kMostSteps},
       "Steps between evaluations on the validation split; there is always one at the end. 0: only "
       "that."},
      {"eval", "batches", IntegerKey{FIELD(eval.batches), 1, 1'000'000},
       "Batches per evaluation, the same windows each time, spread over the whole split."},

      {"checkpoint", "every", IntegerKey{FIELD(checkpoint.every), 0, kMostSteps},
       "Steps between checkpoints; there is always one when the run ends or is stopped. 0: only "
       "that."},
      {"checkpoint", "keep", IntegerKey{FIELD(checkpoint.keep), 1, 1000},
       "Checkpoints kept; older ones are removed."},
      {"checkpoint", "digest_every", IntegerKey{FIELD(checkpoint.digest_every), 0, kMostSteps},
       "In exact arithmetic: steps between digests of the state, which metrics.jsonl keeps for those "
       "who check the run (`suanli replay`). 0: none but those of checkpoints."},

      {"sample", "every", IntegerKey{FIELD(sample.every), 0, kMostSteps},
       "Steps between samples of generated text. 0: none. Only for datasets of bytes."},
      {"sample", "prompt", TextKey{FIELD(sample.prompt)}, "What each sample begins with."},
      {"sample", "tokens", IntegerKey{FIELD(sample.tokens), 1, 100'000}, "Tokens per sample."},

      {"run", "dir", TextKey{FIELD(run.dir), true},
       "The run folder: metrics, checkpoints, the effective job. Default: NAME.run beside "
       "NAME.toml."},
      {"run", "threads", IntegerKey{FIELD(run.threads), 0, 1024},
       "Threads that compute; 0: one per core this process may use. Any number gives the same "
       "weights."},
      {"run", "memory_limit", ScaledKey{FIELD(run.memory_limit), "bytes"},
       "The most memory the job may use, such as \"2Gi\". To keep it, activations are recomputed "
       "in backward, as few as will do; a job that cannot keep it is refused. 0: what the machine has "
       "free."},
      {"run", "cap", ScaledKey{FIELD(run.cap), "FLOP/s"},
       "Highest rate of computing, such as \"50G\": every window of one second stays within 5 % of "
       "it. 0: none."},
      {"run", "budget", ScaledKey{FIELD(run.budget), "FLOP"},
       "Operations the run may use in all, such as \"3P\". It stops before it would exceed them, "
       "resumable. 0: no limit."},
  };
}

#undef FIELD

std::string print_real(double value) {
  char text[40];
  const auto end = std::to_chars(text, text + sizeof text, value).ptr;
  std::string printed(text, end);
  // A TOML float has a point or an exponent.
  if (printed.find_first_of(".en") == std::string::npos) printed += ".0";
  return printed;
}

std::string print_text(std::string_view value) {
  std::string printed = "\"";
  for (const char c : value) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      printed += '\\';
      printed += c;
    } else if (c == '\n') {
      printed += "\\n";
    } else if (c == '\t') {
      printed += "\\t";
    } else if (byte < 0x20 || byte == 0x7F) {
      printed += format("\\u%04X", byte);
    } else {
      printed += c;
    }
  }
  return printed + '"';
}

std::string print_given(const JobValue& value) {
  struct Printer {
    std::string operator()(std::int64_t v) const { return std::to_string(v); }
    std::string operator()(double v) const { return print_real(v); }
    std::string operator()(bool v) const { return v ? "true" : "false"; }
    std::string operator()(const std::string& v) const { return "'" + printable(v) + "'"; }
    std::string operator()(const std::vector<std::string>& v) const {
      std::string list;
      for (const std::string& each : v) list += (list.empty() ? "'" : ", '") + printable(each) + "'";
      return "the list of " + (list.empty() ? "nothing" : list);
    }
  };
  return std::visit(Printer{}, value);
}

std::optional<double> as_real(const JobValue& value) {
  if (const auto* real = std::get_if<double>(&value)) return *real;
  if (const auto* integer = std::get_if<std::int64_t>(&value)) return static_cast<double>(*integer);
  return std::nullopt;
}

// Each returns whether the value suits; then it is stored.
struct Assigner {
  const JobValue& value;
  JobConfig& job;

  bool operator()(const IntegerKey& key) const {
    const auto* integer = std::get_if<std::int64_t>(&value);
    if (!integer || *integer < key.least || *integer > key.most) return false;
    key.field(job) = *integer;
    return true;
  }
  bool operator()(const RealKey& key) const {
    const auto real = as_real(value);
    if (!real || !(*real >= key.least && *real <= key.most)) return false;
    if ((key.open_least && *real == key.least) || (key.open_most && *real == key.most))
      return false;
    key.field(job) = *real;
    return true;
  }
  bool operator()(const ScaledKey& key) const {
    std::optional<double> real = as_real(value);
    if (const auto* text = std::get_if<std::string>(&value)) {
      std::string_view number = *text;
      if (key.unit == "bytes" && number.ends_with('B')) number.remove_suffix(1);
      if (const auto parsed = parse_scaled(number, "")) real = *parsed;
    }
    // Bytes are counted in 64-bit integers.
    if (!real || !(*real >= 0) || !std::isfinite(*real) || (key.unit == "bytes" && *real > 9e18))
      return false;
    key.field(job) = *real;
    return true;
  }
  bool operator()(const TextKey& key) const {
    const auto* text = std::get_if<std::string>(&value);
    if (!text || (key.is_path && text->find('\0') != std::string::npos)) return false;
    key.field(job) = *text;
    return true;
  }
  bool operator()(const ChoiceKey& key) const {
    const auto* text = std::get_if<std::string>(&value);
    if (!text || std::ranges::find(key.choices, *text) == key.choices.end()) return false;
    key.field(job) = *text;
    return true;
  }
  bool operator()(const ListKey& key) const {
    std::vector<std::string> list;
    if (const auto* given = std::get_if<std::vector<std::string>>(&value))
      list = *given;
    else if (const auto* one = std::get_if<std::string>(&value))
      list = {*one};
    else
      return false;
    if (list.size() > kMostListed || std::ranges::any_of(list, &std::string::empty)) return false;
    key.field(job) = std::move(list);
    return true;
  }
};

struct Expectation {
  std::string operator()(const IntegerKey& key) const {
    if (key.most == kMostInteger) return "an integer, at least " + format_count(key.least);
    return "an integer, " + format_count(key.least) + " to " + format_count(key.most);
  }
  std::string operator()(const RealKey& key) const {
    return "a number, " + std::string(key.open_least ? "above " : "") + format("%g", key.least) +
           " to " + (key.open_most ? "below " : "") + format("%g", key.most);
  }
  std::string operator()(const ScaledKey& key) const {
    const std::string_view examples =
        key.unit == "bytes" ? "\"500M\" or \"2Gi\"" : "\"50G\" or \"1.5T\"";
    return "a number of " + std::string(key.unit) + ", at least 0, such as 1e9, " +
           std::string(examples);
  }
  std::string operator()(const TextKey& key) const {
    return key.is_path ? "a path, in quotes" : "text, in quotes";
  }
  std::string operator()(const ChoiceKey& key) const {
    std::string text = "one of";
    for (const std::string& choice : key.choices)
      text += (choice == key.choices.front() ? " \"" : ", \"") + choice + "\"";
    return text;
  }
  std::string operator()(const ListKey& key) const {
    return "a list of up to " + std::to_string(kMostListed) + " " + std::string(key.of) + ", each in quotes";
  }
};

}  // namespace

std::span<const Key> job_keys() {
  static const std::vector<Key> keys = make_keys();
  return keys;
}

const Key* find_job_key(std::string_view section, std::string_view name) {
  for (const Key& key : job_keys())
    if (key.section == section && key.name == name) return &key;
  return nullptr;
}

std::vector<std::string> job_sections() {
  std::vector<std::string> sections;
  for (const Key& key : job_keys())
    if (sections.empty() || sections.back() != key.section) sections.emplace_back(key.section);
  return sections;
}

Status assign(const Key& key, const JobValue& value, JobConfig& job, const std::string& place) {
  if (std::visit(Assigner{value, job}, key.kind)) return {};
  std::string hint;
  if (const auto* choice = std::get_if<ChoiceKey>(&key.kind))
    if (const auto* text = std::get_if<std::string>(&value))
      hint = did_you_mean(*text, choice->choices);
  return fail(ErrorCode::config,
              "'" + key.full_name() + "' is " + print_given(value) + " but should be " +
                  expected_of(key) + hint,
              place, "correct the value; " + std::string(kReference));
}

std::string print_value(const Key& key, const JobConfig& job) {
  // The accessors hand out references to be assigned; a copy keeps `job` const.
  struct Printer {
    JobConfig& job;
    std::string operator()(const IntegerKey& k) const { return std::to_string(k.field(job)); }
    std::string operator()(const RealKey& k) const { return print_real(k.field(job)); }
    std::string operator()(const ScaledKey& k) const { return print_real(k.field(job)); }
    std::string operator()(const TextKey& k) const { return print_text(k.field(job)); }
    std::string operator()(const ChoiceKey& k) const { return print_text(k.field(job)); }
    std::string operator()(const ListKey& k) const {
      std::string list;
      for (const std::string& each : k.field(job)) list += (list.empty() ? "" : ", ") + print_text(each);
      return "[" + list + "]";
    }
  };
  JobConfig copy = job;
  return std::visit(Printer{copy}, key.kind);
}

std::string expected_of(const Key& key) { return std::visit(Expectation{}, key.kind); }

std::vector<const Key*> changed_fixed_keys(const JobConfig& a, const JobConfig& b) {
  std::vector<const Key*> changed;
  for (const Key& key : job_keys())
    if (key.fixed && print_value(key, a) != print_value(key, b)) changed.push_back(&key);
  return changed;
}

std::string job_reference_markdown() {
  std::string page =
      "# Job files\n\n"
      "A job is a TOML file. Every key has a default unless it says otherwise; an unknown key is "
      "an error. "
      "`--set section.key=value`\noverrides a key. Relative paths in the file are relative to the "
      "file's folder, in an "
      "override to the current folder.\n"
      "*Fixed* keys must keep their value when a run is resumed; the others may change.\n\n"
      "This page is printed from the table in `suanli/train/job_schema.cc`.\n";
  const JobConfig defaults;
  std::string_view section;
  for (const Key& key : job_keys()) {
    if (key.section != section) {
      section = key.section;
      page +=
          "\n## [" + std::string(section) +
          "]\n\n| key | default | value | on resume | meaning |\n| --- | --- | --- | --- | --- |\n";
    }
    page += "| `" + std::string(key.name) + "` | `" + print_value(key, defaults) + "` | " +
            expected_of(key) + " | " + (key.fixed ? "fixed" : "may change") + " | " +
            std::string(key.doc) + " |\n";
  }
  return page;
}

}  // namespace suanli::train
