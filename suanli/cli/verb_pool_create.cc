// suanli pool create: the coordinator of a pool, until it is stopped.
#include "suanli/base/text.h"
#include "suanli/cli/output.h"
#include "suanli/cli/pool_client.h"
#include "suanli/cli/progress.h"
#include "suanli/cli/signals.h"
#include "suanli/cli/train_report.h"
#include "suanli/cli/verb.h"
#include "suanli/pool/pool_host.h"

namespace suanli::cli {
namespace {

struct Options {
  bool json = false, quiet = false;
  std::string name, listen, folder, advertise, lifetime = "24h";
  std::int64_t uses = 1'000;
};

void tell(const protocol::PoolEvent& event) {
  write_stderr(event_text({{"time", event.wall.value()},
                           {"subject", event.subject},
                           {"message", event.sentence},
                           {"next_step", event.next_step}}) +
               "\n");
}

Result<int> run_create(const Options& options, const Context& context) {
  pool::HostOptions how;
  how.name = options.name;
  SUANLI_ASSIGN_OR_RETURN(how.folder,
                          options.folder.empty() ? pool::folder_of_pool(options.name) : Result<std::string>(options.folder));
  if (options.name.find('/') != std::string::npos)
    return fail(ErrorCode::usage, "'" + printable(options.name) + "' is no name of a pool", "NAME", "name the folder with --dir");
  SUANLI_ASSIGN_OR_RETURN(how.listen, net::Address::parse(options.listen));
  SUANLI_ASSIGN_OR_RETURN(const Seconds lifetime, parse_duration(options.lifetime, "--token-lifetime"));
  if (lifetime < Seconds(1) || lifetime > Seconds(3650.0 * 86'400))
    return fail(ErrorCode::usage, "'" + printable(options.lifetime) + "' is not from a second to ten years", "--token-lifetime",
                "such as 90m, 24h, 7d");
  how.advertised = options.advertise;
  if (const auto parsed = net::Address::parse(options.advertise + ":1"); !options.advertise.empty() && !parsed)
    return fail(ErrorCode::usage, "'" + printable(options.advertise) + "' is no host", "--advertise",
                "give a name or an address, without a port");
  if (!options.quiet) how.on_event = tell;
  const auto stop = stop_on_signals();
  SUANLI_ASSIGN_OR_RETURN(const auto host, pool::PoolHost::create(how));
  SUANLI_ASSIGN_OR_RETURN(const net::JoinToken token, host->make_token({.lifetime = lifetime, .uses = options.uses}));
  if (options.json) {
    emit("pool/create", {{"pool", how.name},
                         {"folder", how.folder},
                         {"address", host->address().to_string()},
                         {"is_new", host->is_new()},
                         {"token", token.to_string()},
                         {"token_id", token.id},
                         {"expires", token.expires.value()},
                         {"uses", options.uses}});
  } else {
    const std::string program = shell_word(context.program);
    write_stdout("pool " + how.name + (host->is_new() ? ", new," : "") + " listens at " + host->address().to_string() +
                 "; its folder is " + how.folder + "\n\nOn each machine that shall join, within " + format_duration(lifetime) +
                 ":\n  " + program + " worker --join " + token.to_string() +
                 "\nand, if it can be dialled, with --listen HOST:PORT: two workers that work together need one that listens.\n"
                 "Then here:\n  " + program +
                 " train JOB.toml --on " + how.name + "\n");
    (void)flush_stdout();
  }
  const int cancelled = host->run(stop);
  if (!options.quiet && cancelled > 0)
    write_stderr(std::to_string(cancelled) + (cancelled == 1 ? " job was" : " jobs were") + " cancelled; --resume goes on with " +
                 (cancelled == 1 ? "it" : "them") + "\n");
  return 0;
}

}  // namespace

void add_pool_create(Verb pool, Request& request) {
  auto options = std::make_shared<Options>();
  Verb verb = pool.verb("create", "Make a pool, or go on with one, and run its coordinator",
                        "Makes a pool with a certificate authority of its own, prints a token by which machines join, and "
                        "coordinates until Ctrl-C: "
                        "then running jobs are cancelled, and their states saved, so that --resume goes on with them. Where the "
                        "pool's folder is there "
                        "already it goes on with that pool: workers that have joined it come back by themselves.",
                        {{"pool create mypool --listen 0.0.0.0:7000", "machines join at this machine's name"},
                         {"pool create mypool --listen 10.0.0.5:7000 --token-lifetime 2h --token-uses 3",
                          "three machines may join, within two hours"}});
  verb.argument("NAME", options->name, "Of the pool");
  verb.option("--listen", options->listen, "Where workers dial; port 0 takes any", "HOST:PORT", true);
  verb.option("--dir", options->folder, "Folder of the pool [default: suanli/pools/NAME in the user's data folder]", "DIR");
  verb.option("--advertise", options->advertise,
              "Host that tokens name [default: that of --listen; the machine's name if it is 0.0.0.0]", "HOST");
  verb.option("--token-lifetime", options->lifetime, "How long the printed token holds, such as 90m, 24h, 7d", "TIME");
  verb.option("--token-uses", options->uses, "How many machines may join by it", 1, 1'000'000);
  verb.flag("--quiet", options->quiet, "Do not tell what happens in the pool");
  verb.json_flag(options->json);
  on_chosen(verb, request, options, run_create);
}

}  // namespace suanli::cli
