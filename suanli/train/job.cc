#include "suanli/train/job.h"

#include <toml++/toml.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <optional>

#include "suanli/base/file.h"
#include "suanli/base/text.h"
#include "suanli/model/gpt.h"
#include "suanli/train/growth.h"
#include "suanli/train/job_schema.h"
#include "suanli/train/local_steps.h"

namespace suanli::train {
namespace {

namespace fs = std::filesystem;

std::string line_of(const std::string& place, const toml::source_region& source) {
  return place + ":" + std::to_string(source.begin.line);
}

tl::unexpected<Error> unknown_section(std::string_view section, ErrorCode code, std::string place) {
  const std::vector<std::string> known = job_sections();
  return fail(code,
              "there is no section '" + printable(section) + "'" + did_you_mean(section, known),
              std::move(place), kReference);
}

tl::unexpected<Error> unknown_key(std::string_view section, std::string_view name, ErrorCode code,
                                  std::string place) {
  std::vector<std::string> known;
  std::string elsewhere;
  for (const Key& key : job_keys()) {
    if (key.section == section) known.emplace_back(key.name);
    if (key.name == name) elsewhere = key.section;
  }
  std::string hint = did_you_mean(name, known);
  if (hint.empty() && !elsewhere.empty()) hint = ", it belongs into [" + elsewhere + "]";
  return fail(
      code,
      "there is no key '" + printable(std::string(section) + "." + std::string(name)) + "'" + hint,
      std::move(place), kReference);
}

std::optional<JobValue> value_of(const toml::node& node) {
  if (const auto* integer = node.as_integer()) return integer->get();
  if (const auto* real = node.as_floating_point()) return real->get();
  if (const auto* truth = node.as_boolean()) return truth->get();
  if (const auto* text = node.as_string()) return text->get();
  if (const auto* array = node.as_array()) {
    std::vector<std::string> list;
    for (const toml::node& each : *array) {
      const auto* text = each.as_string();
      if (!text) return std::nullopt;
      list.push_back(text->get());
    }
    return list;
  }
  return std::nullopt;
}

std::string_view type_of(const toml::node& node) {
  if (node.is_table()) return "a table";
  if (node.is_array()) return "a list";
  return "a date or time";
}

Status read_section(std::string_view section, const toml::table& table, JobConfig& job,
                    const std::string& place) {
  for (const auto& [name, node] : table) {
    const std::string inner = std::string(section) + "." + std::string(name.str());
    if (const std::vector<std::string> all = job_sections(); node.is_table() && std::ranges::find(all, inner) != all.end()) {
      SUANLI_RETURN_IF_ERROR(read_section(inner, *node.as_table(), job, place));
      continue;
    }
    const Key* key = find_job_key(section, name.str());
    if (!key)
      return unknown_key(section, name.str(), ErrorCode::config, line_of(place, name.source()));
    const std::string line = line_of(place, node.source());
    const auto value = value_of(node);
    if (!value)
      return fail(ErrorCode::config,
                  "'" + key->full_name() + "' is " + std::string(type_of(node)) +
                      " but should be " + expected_of(*key),
                  line, kReference);
    SUANLI_RETURN_IF_ERROR(assign(*key, *value, job, line));
  }
  return {};
}

Status read_table(const toml::table& table, JobConfig& job, const std::string& place) {
  const std::vector<std::string> sections = job_sections();
  for (const auto& [name, node] : table) {
    const std::string line = line_of(place, name.source());
    const bool known = std::ranges::find(sections, name.str()) != sections.end();
    if (known && node.is_table()) {
      SUANLI_RETURN_IF_ERROR(read_section(name.str(), *node.as_table(), job, place));
    } else if (known) {
      return fail(ErrorCode::config, "'" + std::string(name.str()) + "' is a section, not a value",
                  line, "write [" + std::string(name.str()) + "] and its keys below it");
    } else if (node.is_table()) {
      return unknown_section(name.str(), ErrorCode::config, line);
    } else {
      return fail(ErrorCode::config,
                  "the key '" + printable(name.str()) + "' stands outside of every section", line,
                  "put it below a line such as [train]; " + std::string(kReference));
    }
  }
  return {};
}

// The value of an override, by the kind of its key: text needs no quotes there.
JobValue value_of_override(const Key& key, std::string_view text) {
  if (std::holds_alternative<TextKey>(key.kind) || std::holds_alternative<ChoiceKey>(key.kind))
    return std::string(text);
  if (std::holds_alternative<ListKey>(key.kind)) {
    std::vector<std::string> list;
    // As in a job file, or without brackets and quotes.
    if (text.starts_with('[')) {
      try {
        const toml::table parsed = toml::parse("list = " + std::string(text));
        if (const auto value = value_of(*parsed.get("list"))) return *value;
      } catch (const toml::parse_error&) {
        // It is told with all that is given.
      }
      return std::string(text);
    }
    for (std::size_t at = 0; !text.empty() && at <= text.size();) {
      const std::size_t comma = std::min(text.find(',', at), text.size());
      list.emplace_back(text.substr(at, comma - at));
      at = comma + 1;
    }
    return list;
  }
  const char* end = text.data() + text.size();
  std::int64_t integer = 0;
  if (const auto parsed = std::from_chars(text.data(), end, integer);
      parsed.ec == std::errc() && parsed.ptr == end)
    return integer;
  double real = 0;
  if (const auto parsed = std::from_chars(text.data(), end, real);
      parsed.ec == std::errc() && parsed.ptr == end)
    return real;
  return std::string(text);
}

// Makes the paths absolute that `before` does not have: those that were just read.
void resolve_paths(JobConfig& job, const JobConfig& before, const fs::path& folder) {
  JobConfig old = before;
  for (const Key& key : job_keys()) {
    const auto* text = std::get_if<TextKey>(&key.kind);
    if (!text || !text->is_path) continue;
    std::string& path = text->field(job);
    if (!path.empty() && path != text->field(old))
      path = (folder / path).lexically_normal().string();
  }
}

// A URL is looked at in full by who asks there; what every reader of the job can see is said at once. Passwords have no place in
// a file that is handed to every worker and kept in the run folder.
Status check_source(const std::string& url, const std::string& place) {
  const auto wrong = [&](const std::string& what, std::string next_step) {
    return fail(ErrorCode::config, "'data.sources' " + what, place, std::move(next_step));
  };
  const std::size_t scheme = url.find("://");
  const std::string_view name = std::string_view(url).substr(0, std::min(scheme, url.size()));
  if (scheme == std::string::npos || (name != "http" && name != "https" && name != "s3"))
    return wrong("names '" + printable(url) + "', which is no URL of a web server or of S3",
                 "write http://HOST/FOLDER, https://HOST/FOLDER or s3://BUCKET/PREFIX");
  const std::string_view rest = std::string_view(url).substr(scheme + 3);
  const std::string_view host = rest.substr(0, rest.find('/'));
  if (host.find('@') != std::string_view::npos)
    return wrong("has a name or password in the URL of '" + printable(host.substr(host.rfind('@') + 1)) + "'",
                 "leave them out: a job is handed to every worker; S3's keys belong into the workers' environment");
  if (host.empty() || rest.find_first_of("?#") != std::string_view::npos)
    return wrong("names '" + printable(url) + "', which is no folder", "give a URL such as https://HOST/FOLDER, without ? or #");
  return {};
}

// Nothing if the text is no such list.
std::vector<std::int64_t> split_of_text(std::string_view text) {
  std::vector<std::int64_t> split;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t comma = std::min(text.find(',', at), text.size());
    const char* end = text.data() + comma;
    std::int64_t layers = 0;
    const auto parsed = std::from_chars(text.data() + at, end, layers);
    if (parsed.ec != std::errc() || parsed.ptr != end || layers < 1) return {};
    split.push_back(layers);
    at = comma + 1;
  }
  return split;
}

Result<fs::path> absolute_path(const std::string& path) {
  std::error_code error;
  const fs::path absolute = fs::absolute(path, error);
  if (error) return tl::unexpected(system_error(error.value(), "finding the current folder", path));
  return absolute;
}

}  // namespace

Result<JobConfig> parse_job(std::string_view text, const std::string& place) {
  if (static_cast<std::int64_t>(text.size()) > kMaxJobBytes)
    return fail(ErrorCode::config,
                "the job has " + std::to_string(text.size()) + " bytes, more than the limit of " +
                    std::to_string(kMaxJobBytes),
                place, "a job file is a page of text; is this one?");
  JobConfig job;
  try {
    const toml::table table = toml::parse(text);
    SUANLI_RETURN_IF_ERROR(read_table(table, job, place));
  } catch (const toml::parse_error& error) {
    return fail(ErrorCode::config, "not valid TOML: " + printable(error.description(), 300),
                line_of(place, error.source()), "correct the line; text values stand in quotes");
  }
  return job;
}

Status apply_override(JobConfig& job, std::string_view override_text) {
  const std::string place = "--set " + printable(override_text);
  constexpr std::string_view kArithmetic = "arith=";
  std::string written_out;
  if (override_text.starts_with(kArithmetic)) {
    written_out = "train.dtype=" + std::string(override_text.substr(kArithmetic.size()));
    override_text = written_out;
  }
  const std::size_t equals = override_text.find('=');
  const std::size_t dot = override_text.rfind('.', equals);
  if (equals == std::string_view::npos || dot == std::string_view::npos || dot > equals)
    return fail(ErrorCode::usage, "an override has the form section.key=value", place,
                "write for example --set train.lr=3e-4");
  const std::string_view section = override_text.substr(0, dot);
  const std::string_view name = override_text.substr(dot + 1, equals - dot - 1);
  const std::vector<std::string> sections = job_sections();
  if (std::ranges::find(sections, section) == sections.end())
    return unknown_section(section, ErrorCode::usage, place);
  const Key* key = find_job_key(section, name);
  if (!key) return unknown_key(section, name, ErrorCode::usage, place);
  Status status =
      assign(*key, value_of_override(*key, override_text.substr(equals + 1)), job, place);
  if (!status) status.error().code = ErrorCode::usage;
  return status;
}

std::vector<std::int64_t> split_of(const JobConfig& job) {
  return job.pool.split.empty() ? std::vector<std::int64_t>() : split_of_text(job.pool.split);
}

Status check_job(const JobConfig& job, const std::string& place) {
  const auto wrong = [&](std::string message, std::string next_step) {
    return fail(ErrorCode::config, std::move(message), place, std::move(next_step));
  };
  if (job.data.path.empty())
    return wrong("'data.path' is missing", "name the folder that `suanli data load` wrote");
  for (const std::string& url : job.data.sources) SUANLI_RETURN_IF_ERROR(check_source(url, place));
  if (job.run.dir.empty()) return wrong("'run.dir' is missing", "name a folder for the run");
  if (job.model.width % job.model.heads != 0)
    return wrong("'model.width' is " + std::to_string(job.model.width) + ", which " +
                     std::to_string(job.model.heads) + " heads do not divide",
                 "choose a width that is a multiple of 'model.heads'");
  if (job.train.warmup_steps > job.train.steps)
    return wrong("'train.warmup_steps' is " + std::to_string(job.train.warmup_steps) +
                     ", more than the " + std::to_string(job.train.steps) + " of 'train.steps'",
                 "shorten the warm-up or train longer");
  if (!job.pool.split.empty()) {
    const std::vector<std::int64_t> split = split_of(job);
    const std::int64_t too_many = job.model.layers + 1;
    std::int64_t layers = 0;
    for (const std::int64_t each : split) layers = std::min(layers + std::min(each, too_many), too_many);
    if (layers != job.model.layers)
      return wrong("'pool.split' is '" + printable(job.pool.split) + "', which does not share out the " +
                       format_count(job.model.layers) + " of 'model.layers'",
                   "write the transformer blocks of each stage, each at least 1, with commas between them, or leave it empty");
    if (job.pool.stages != 0 && job.pool.stages != static_cast<std::int64_t>(split.size()))
      return wrong("'pool.stages' is " + std::to_string(job.pool.stages) + ", but 'pool.split' has " +
                       std::to_string(split.size()),
                   "leave 'pool.stages' at 0, or correct one of them");
  }
  if (const auto growth = growth_plan_of(job); !growth) return tl::unexpected(Error(growth.error()).within(place));
  if (job.local.inner_steps > 0) {
    if (const Status local = check(local_steps_of(job)); !local)
      return wrong("[local]: " + local.error().message, "correct the key, or set 'local.inner_steps' to 0");
  } else if (job.train.dtype == "exact" && job.codec.weights != "none") {
    return wrong("'codec.weights' is " + job.codec.weights +
                     ", but the sums of exact arithmetic are whole numbers that replicas exchange as they are",
                 "set 'codec.weights' to none, or 'train.dtype' to f32 or bf16, or train with 'local.inner_steps'");
  }
  model::GptConfig model{.layers = job.model.layers,
                         .heads = job.model.heads,
                         .width = job.model.width,
                         .context = job.model.context,
                         .vocab = job.model.vocab == 0 ? 1 : job.model.vocab};
  if (Status status = model.check(); !status)
    return tl::unexpected(std::move(status).error().within(place));
  return {};
}

Result<JobConfig> load_job(const std::string& path, std::span<const std::string> overrides) {
  SUANLI_ASSIGN_OR_RETURN(const std::string text, read_file(path, Bytes(kMaxJobBytes)));
  SUANLI_ASSIGN_OR_RETURN(const fs::path absolute, absolute_path(path));
  SUANLI_ASSIGN_OR_RETURN(const fs::path current, absolute_path("."));
  SUANLI_ASSIGN_OR_RETURN(JobConfig job, parse_job(text, path));
  resolve_paths(job, JobConfig(), absolute.parent_path());
  for (const std::string& one : overrides) {
    const JobConfig before = job;
    SUANLI_RETURN_IF_ERROR(apply_override(job, one));
    resolve_paths(job, before, current);
  }
  if (job.run.dir.empty())
    job.run.dir = (absolute.parent_path() / (absolute.stem().string() + ".run")).string();
  SUANLI_RETURN_IF_ERROR(check_job(job, path));
  return job;
}

std::string print_job(const JobConfig& job) {
  std::string text;
  std::string_view section;
  for (const Key& key : job_keys()) {
    if (key.section != section) {
      section = key.section;
      text += (text.empty() ? "[" : "\n[") + std::string(section) + "]\n";
    }
    text += std::string(key.name) + " = " + print_value(key, job) + "\n";
  }
  return text;
}

}  // namespace suanli::train
