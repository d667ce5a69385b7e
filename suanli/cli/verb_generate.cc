// suanli generate: text from a trained run.
#include "suanli/base/clock.h"
#include "suanli/cli/output.h"
#include "suanli/cli/progress.h"
#include "suanli/cli/signals.h"
#include "suanli/cli/verb.h"
#include "suanli/train/generate.h"

namespace suanli::cli {
namespace {

struct Options {
  bool json = false;
  std::string run, prompt = "\n";
  std::int64_t tokens = 200;
  std::int64_t threads = 0;
  model::SamplingOptions sampling;
};

// Control characters that a model makes up stay away from a terminal.
std::string shown(char byte, const Terminal& terminal) {
  const auto value = static_cast<unsigned char>(byte);
  const bool is_control = (value < 0x20 && byte != '\n' && byte != '\t') || value == 0x7F;
  return terminal.is_tty && is_control ? "?" : std::string(1, byte);
}

Result<int> run_generate(const Options& options, const Context& context) {
  SUANLI_RETURN_IF_ERROR(options.sampling.check());
  const train::StopFlag stop = stop_on_signals();
  SUANLI_ASSIGN_OR_RETURN(
      const auto model,
      train::TrainedModel::load(options.run,
                                {.threads = static_cast<int>(options.threads), .stop = stop}));
  for (const Error& damage : model->damages())
    write_stderr("warning: " + damage.to_string() + "\n");
  std::string text;
  const auto sink = [&](char byte) {
    text += byte;
    if (options.json) return true;
    return write_stdout(shown(byte, context.out)) && (!context.out.is_tty || flush_stdout());
  };
  const Seconds start = real_clock().now();
  if (!options.json) write_stdout(options.prompt);
  SUANLI_RETURN_IF_ERROR(model->generate(options.prompt, options.tokens, options.sampling, sink));
  const Seconds seconds = real_clock().now() - start;
  if (options.json)
    emit("generate", {{"run", options.run},
                      {"step", model->step()},
                      {"prompt", options.prompt},
                      {"text", text},
                      {"tokens", text.size()},
                      {"seconds", seconds.value()}});
  else
    write_stdout("\n");
  return train::is_stopped(stop) ? exit_code_of(ErrorCode::interrupted) : 0;
}

}  // namespace

void add_generate(Verb root, Request& request) {
  auto options = std::make_shared<Options>();
  model::SamplingOptions& sampling = options->sampling;
  Verb verb = root.verb(
      "generate", "Text from a trained run",
      "Continues a prompt with the newest checkpoint of a run, one token after the other, as they "
      "are made. The same seed gives the same text.",
      {{"generate runs/quickstart-1 --prompt 'And God said'", "200 bytes more"},
       {"generate runs/quickstart-1 --temperature 0 --tokens 50", "the most likely text"},
       {"generate runs/quickstart-1 --top-k 40 --top-p 0.95 --seed 7", "another one"}});
  verb.argument("RUN", options->run, "Folder of the run");
  verb.option("--prompt", options->prompt, "What the text begins with; a new line unless given");
  verb.option("--tokens", options->tokens, "Tokens to make", 0, std::int64_t{1} << 40);
  verb.option("--temperature", sampling.temperature, "0: the most likely token; 1: as learnt");
  verb.option("--top-k", sampling.top_k, "Choose among the k most likely; 0: all", 0,
              std::int64_t{1} << 40);
  verb.option("--top-p", sampling.top_p,
              "Choose among the likeliest that make up this probability");
  verb.option("--seed", sampling.seed, "Names the text");
  verb.option("--threads", options->threads, "Threads that compute; 0: as the run's job says", 0,
              1024);
  verb.json_flag(options->json);
  on_chosen(verb, request, options, run_generate);
}

}  // namespace suanli::cli
