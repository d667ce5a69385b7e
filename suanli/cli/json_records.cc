#include "suanli/cli/json_records.h"

#include <vector>

namespace suanli::cli {
namespace {

constexpr JsonField kFields[] = {
    {"train/start", "event", "string", "\"start\""},
    {"train/start", "run", "string", "the run folder"},
    {"train/start", "step", "integer", "steps done before this session"},
    {"train/start", "steps", "integer", "steps of the whole run"},
    {"train/start", "parameters", "integer", "of the model"},
    {"train/start", "step_flops", "number", "operations of one step"},
    {"train/start", "step_tokens", "integer", "tokens of one step"},
    {"train/start", "train_tokens", "integer", "in the training split"},
    {"train/start", "valid_tokens", "integer", "in the validation split"},
    {"train/start", "dtype", "string", "\"f32\", \"bf16\" or \"exact\""},
    {"train/start", "threads", "integer", "that compute"},
    {"train/start", "memory_bytes", "integer", "of the plan, evaluation and snapshots"},
    {"train/start", "recomputed", "boolean", "backward makes elementwise ops and norms again"},
    {"train/start", "recomputed_blocks", "integer",
     "to keep the memory limit, so many blocks, from the first on, are made again whole"},
    {"train/start", "peak_flops_per_s", "number or null", "what MFU is a fraction of"},
    {"train/start", "mfu_base", "string", "where that comes from"},

    {"train/step", "event", "string", "\"step\""},
    {"train/step", "step", "integer", "steps done"},
    {"train/step", "loss", "number", "mean over the step's tokens, nats per token"},
    {"train/step", "grad_norm", "number", "of the gradient, before clipping"},
    {"train/step", "lr", "number", "learning rate"},
    {"train/step", "tokens", "integer", "of this step"},
    {"train/step", "tokens_per_s", "number", "in this step"},
    {"train/step", "mfu", "number or null", "model FLOPs utilisation, a fraction"},
    {"train/step", "flops_total", "number", "operations of the run so far"},
    {"train/step", "seconds", "number", "of this step"},
    {"train/step", "eta_seconds", "number", "until the last step"},

    {"train/eval", "event", "string", "\"eval\""},
    {"train/eval", "step", "integer", "steps done"},
    {"train/eval", "valid_loss", "number", "nats per token"},
    {"train/eval", "perplexity", "number", "exp of the loss"},
    {"train/eval", "bits_per_byte", "number or null", "null where tokens are not bytes"},
    {"train/eval", "tokens", "integer", "that were looked at"},

    {"train/checkpoint", "event", "string", "\"checkpoint\""},
    {"train/checkpoint", "step", "integer", "whose state is now durable"},

    {"train/growth", "event", "string", "\"growth\""},
    {"train/growth", "step", "integer", "steps done"},
    {"train/growth", "reason", "string", "sizes before and after"},
    {"train/growth", "parameters_before", "integer", ""},
    {"train/growth", "parameters", "integer", "after it"},

    {"train/sample", "event", "string", "\"sample\""},
    {"train/sample", "step", "integer", "steps done"},
    {"train/sample", "text", "string", "generated text; bytes that are not UTF-8 are replaced"},

    {"train/warning", "event", "string", "\"warning\""},
    {"train/warning", "code", "string", "see errors.md"},
    {"train/warning", "message", "string", "one sentence"},
    {"train/warning", "place", "string", "file, key or tensor; may be empty"},
    {"train/warning", "next_step", "string", "what to do; may be empty"},

    {"train/end", "event", "string", "\"end\""},
    {"train/end", "outcome", "string", "\"finished\", \"interrupted\" or \"budget spent\""},
    {"train/end", "exit_code", "integer", "of the command: 0, 5 or 7"},
    {"train/end", "run", "string", "the run folder"},
    {"train/end", "step", "integer", "steps done"},
    {"train/end", "steps", "integer", "steps of the whole run"},
    {"train/end", "loss", "number or null", "of the last step"},
    {"train/end", "valid_loss", "number or null", "of the last evaluation"},
    {"train/end", "best_valid_loss", "number or null", "of all evaluations"},
    {"train/end", "flops", "number", "operations of the run, all sessions"},
    {"train/end", "tokens", "integer", "trained on, all sessions"},
    {"train/end", "seconds", "object",
     "seconds of the run by cause: data, forward, backward, update, communication, evaluate, checkpoint, waiting (for "
     "the rate cap), metering, other"},
    {"train/end", "session_steps", "integer", "steps of this session"},
    {"train/end", "session_seconds", "number", "of this session"},
    {"train/end", "svg", "string or null", "picture of the loss; null if there is none"},

    {"train/submitted", "event", "string", "\"submitted\" (with --detach)"},
    {"train/submitted", "pool", "string", "as --on named it"},
    {"train/submitted", "job", "string", "its id, for status, logs, cancel and fetch"},
    {"train/submitted", "run", "string", "the run folder"},

    {"pool/create", "pool", "string", "its name"},
    {"pool/create", "folder", "string", "of the pool"},
    {"pool/create", "address", "string", "host:port where the coordinator listens"},
    {"pool/create", "is_new", "boolean", "there was no such pool before"},
    {"pool/create", "token", "string", "a secret, for `suanli worker --join`"},
    {"pool/create", "token_id", "string", "for `suanli pool revoke`"},
    {"pool/create", "expires", "integer", "seconds since 1970"},
    {"pool/create", "uses", "integer", "machines that may join by it"},

    {"pool/status", "pool", "string", "its name"},
    {"pool/status", "version", "string", "of the coordinator"},
    {"pool/status", "address", "string", "host:port where it listens"},
    {"pool/status", "folder", "string", "of the pool"},
    {"pool/status", "up_seconds", "number", "since the coordinator began"},
    {"pool/status", "workers", "integer", "connected"},
    {"pool/status", "idle", "integer", "of them, those without a stage"},
    {"pool/status", "cores", "integer", "of all workers, lent"},
    {"pool/status", "memory_bytes", "integer", "of all workers, lent"},
    {"pool/status", "f32_flops_per_s", "number", "of matrix products, all workers together, as they measured"},
    {"pool/status", "bf16_flops_per_s", "number", "the same in bf16"},
    {"pool/status", "exact_flops_per_s", "number", "the same in exact arithmetic"},
    {"pool/status", "running", "string or null", "id of the job that runs"},
    {"pool/status", "queued", "integer", "jobs that wait"},
    {"pool/status", "dropped_messages", "integer", "of an old epoch or attempt, or of a peer that was not connected"},

    {"pool/peer", "worker", "string", "its name (one line per worker)"},
    {"pool/peer", "id", "string", "of its key, 64 digits"},
    {"pool/peer", "member", "integer", "its number in the pool; a worker that comes back gets a new one"},
    {"pool/peer", "listen", "string or null", "host:port where others may dial it; null: it dials out only"},
    {"pool/peer", "place", "string", "where it stands, as its owner says"},
    {"pool/peer", "cores", "integer", "lent"},
    {"pool/peer", "memory_bytes", "integer", "lent"},
    {"pool/peer", "f32_flops_per_s", "number", "of matrix products, as it measured"},
    {"pool/peer", "bf16_flops_per_s", "number", "the same in bf16"},
    {"pool/peer", "exact_flops_per_s", "number", "the same in exact arithmetic"},
    {"pool/peer", "share", "number", "part of the machine that is lent, in (0, 1]"},
    {"pool/peer", "cap_flops_per_s", "number or null", "highest rate that the owner allows"},
    {"pool/peer", "hours", "string or null", "of the owner's day in which it is lent: \"22:00-07:00\""},
    {"pool/peer", "version", "string", "of suanli there"},
    {"pool/peer", "joined_seconds_ago", "number", ""},
    {"pool/peer", "heard_seconds_ago", "number", "the last message"},
    {"pool/peer", "job", "string or null", "of which it holds a stage"},
    {"pool/peer", "stages", "array of integers", "that it holds"},

    {"pool/link", "from", "string", "worker's name (one line per direction)"},
    {"pool/link", "to", "string", "worker's name"},
    {"pool/link", "from_id", "string", "of its key"},
    {"pool/link", "to_id", "string", "of its key"},
    {"pool/link", "delay_seconds", "number", "one way"},
    {"pool/link", "bytes_per_s", "number or null", "null: nothing large has gone that way yet"},
    {"pool/link", "measured_by", "string", "worker's name"},
    {"pool/link", "measured_seconds_ago", "number", ""},

    {"pool/event", "number", "integer", "1, 2, ... since the coordinator began (one line per event)"},
    {"pool/event", "time", "number", "seconds since 1970"},
    {"pool/event", "reason", "string",
     "worker_joined, worker_refused, worker_silent, worker_lost, worker_left, worker_broke_protocol, job_queued, job_waits, "
     "job_placed, job_running, job_finished, job_failed, job_cancelled, step_repeated, snapshot_saved or snapshot_failed"},
    {"pool/event", "subject", "string", "worker's name or job's id"},
    {"pool/event", "message", "string", "one sentence"},
    {"pool/event", "next_step", "string", "what to do; may be empty"},

    {"pool/describe", "kind", "string", "\"worker\" or \"job\""},
    {"pool/describe", "worker", "object or null", "as pool/peer"},
    {"pool/describe", "job", "object or null", "as job"},
    {"pool/describe", "links", "array of objects", "as pool/link, to and from the worker"},
    {"pool/describe", "events", "array of objects", "as pool/event, of the worker or job"},

    {"pool/token", "token", "string", "a secret, for `suanli worker --join`"},
    {"pool/token", "id", "string", "for `suanli pool revoke`"},
    {"pool/token", "expires", "integer", "seconds since 1970"},
    {"pool/token", "uses", "integer", "machines that may join by it"},

    {"pool/revoke", "kind", "string", "\"worker\" or \"token\""},
    {"pool/revoke", "id", "string", "of the worker's key or of the token"},

    {"job", "job", "string", "its id (`suanli status`: one line per job)"},
    {"job", "run", "string", "the run folder"},
    {"job", "state", "string", "queued, placing, preparing, running, saving, finished, failed or cancelled"},
    {"job", "step", "integer", "last committed step"},
    {"job", "steps", "integer", "of the whole run"},
    {"job", "first_step", "integer", "of this session"},
    {"job", "saved_step", "integer or null", "last step whose state is saved"},
    {"job", "loss", "number or null", "of the last step"},
    {"job", "grad_norm", "number or null", "of the last step, before clipping"},
    {"job", "step_seconds", "number or null", "that the last step took"},
    {"job", "tokens_per_s", "number or null", "in the last step"},
    {"job", "epoch", "integer", "of its route table; 0: not placed yet"},
    {"job", "placement", "string", "which worker holds which stage, in a sentence; empty: not placed yet"},
    {"job", "workers", "array of strings", "names of those that hold a stage"},
    {"job", "waits_for", "string", "workers that have not answered; may be empty"},
    {"job", "submitted", "number or null", "seconds since 1970"},
    {"job", "started", "number or null", "seconds since 1970"},
    {"job", "ended", "number or null", "seconds since 1970"},
    {"job", "error", "object or null", "why it failed: code, message, place, next_step"},
    {"job", "closed", "boolean", "it is over and its run folder is free"},
    {"job", "report", "object or null", "once it is closed without an error: as train/end, from outcome to session_seconds"},

    {"logs", "kind", "string", "\"event\" or \"metrics\" (one line each)"},
    {"logs", "event", "object or null", "as pool/event"},
    {"logs", "metrics", "object or null", "a line of metrics.jsonl (docs/formats/run-folder.md)"},

    {"cancel", "job", "string", "its id"},
    {"cancel", "state", "string", "as of job: running or saving until its state is saved"},

    {"fetch", "job", "string", "its id"},
    {"fetch", "from", "string", "the run folder"},
    {"fetch", "to", "string", "the new folder"},
    {"fetch", "step", "integer or null", "of the snapshot; null: none is saved yet"},
    {"fetch", "bytes", "integer", "that were copied"},

    {"error", "event", "string", "\"error\""},
    {"error", "code", "string", "see errors.md"},
    {"error", "exit_code", "integer", "of the command"},
    {"error", "message", "string", "one sentence that holds the offending value"},
    {"error", "place", "string", "file, file:line, key or flag; may be empty"},
    {"error", "next_step", "string", "what to do; may be empty"},

    {"doctor", "suanli", "string", "version"},
    {"doctor", "cpu", "string", "brand of the CPU"},
    {"doctor", "cores", "integer", "that this process may use"},
    {"doctor", "isa", "array of strings", "instruction sets that matter here"},
    {"doctor", "amx_permitted", "boolean", "the kernel grants tile registers"},
    {"doctor", "memory_total_bytes", "integer", "of the machine or its control group"},
    {"doctor", "memory_available_bytes", "integer", "now"},
    {"doctor", "disk_free_bytes", "integer", "of the current folder's file system"},
    {"doctor", "onednn", "string", "version"},
    {"doctor", "highway", "string", "version"},
    {"doctor", "simd", "string", "the instruction set Highway chose"},
    {"doctor", "gemm", "array of objects",
     "per dtype: dtype, implementation (the code oneDNN chose), flops_per_s (null unless "
     "measured)"},
    {"doctor", "warnings", "array of objects", "message and next_step"},

    {"data list", "corpora", "array of objects", "name, summary, installed, install (a command)"},

    {"data fetch", "file", "string", "path of the written file"},
    {"data fetch", "documents", "integer", "in it"},
    {"data fetch", "bytes", "integer", "of the file"},
    {"data fetch", "sha256", "string", "of the file"},

    {"data load", "out", "string", "the dataset's folder"},
    {"data load", "documents", "integer", "read"},
    {"data load", "bytes_in", "integer", "of the input files on disk"},
    {"data load", "bytes_text", "integer", "of the documents"},
    {"data load", "tokens", "integer", "of both splits"},
    {"data load", "train_tokens", "integer", ""},
    {"data load", "valid_tokens", "integer", ""},
    {"data load", "skipped", "object", "reason to count"},
    {"data load", "warnings", "array of strings", ""},
    {"data load", "seconds", "number", ""},
    {"data load", "digest", "string", "names the dataset's content"},

    {"data info", "folder", "string", ""},
    {"data info", "tokenizer", "string", ""},
    {"data info", "vocab", "integer", ""},
    {"data info", "digest", "string", "names the content"},
    {"data info", "train", "object", "tokens, documents, shards"},
    {"data info", "valid", "object", "tokens, documents, shards"},
    {"data info", "sources", "array of objects", "path, bytes, documents"},

    {"data verify", "folder", "string", ""},
    {"data verify", "digest", "string", "which every shard's bytes agree with"},
    {"data verify", "tokens", "integer", "that were read"},

    {"plan", "job", "string", "the job file or run folder"},
    {"plan", "on", "string", "where it runs"},
    {"plan", "dtype", "string", "\"f32\", \"bf16\" or \"exact\""},
    {"plan", "recomputed", "boolean", "backward makes elementwise ops and norms again"},
    {"plan", "recomputed_blocks", "integer", "so many blocks, from the first on, are made again whole to fit"},
    {"plan", "memory_limit_bytes", "integer", "what the machine or the job allows; 0: unknown"},
    {"plan", "fits", "boolean", "if false, an error of code no_memory follows on a line of its own"},
    {"plan", "ways_to_fit", "array of objects",
     "if it does not fit, the three cheapest changes with which it does: what, sets (overrides), on (another device, or empty), "
     "memory_bytes, time_ratio (for the same tokens), changes_model, parameters"},
    {"plan", "machines", "array of objects",
     "of a fleet: name, kind, count, micro_batches_least and micro_batches_most (that each takes of a step), micro_batch_s"},
    {"plan", "figures", "object",
     "by key (`suanli help figures`): low, expected, high, unit, why, influences (assumption, share)"},
    {"plan", "assumptions", "array of objects", "key, text, low, expected, high, unit, source"},
    {"plan", "warnings", "array of objects", "code, exit_code, message, place, next_step"},
    {"plan", "notes", "array of strings", "what belongs to no single figure"},

    {"plan llm", "device", "string", "of the table"},
    {"plan llm", "devices", "integer", "how many"},
    {"plan llm", "dtype", "string", "of the matrix products"},
    {"plan llm", "model", "object", "parameters, active_parameters, layers, width, heads, context, vocab"},
    {"plan llm", "layout", "object",
     "tensor, pipeline, data (degrees), interleave, sequence_parallel, shard (0 nothing, 1 optimizer, 2 and gradients, 3 and "
     "weights), global_batch and micro_batch (sequences), recomputation, flash, stack: as stated, or as chosen"},
    {"plan llm", "figures", "object", "as of `plan`"},
    {"plan llm", "assumptions", "array of objects", "as of `plan`"},
    {"plan llm", "warnings", "array of objects", "as of `plan`"},
    {"plan llm", "notes", "array of strings", "as of `plan`"},

    {"plan cluster", "device", "string", "of the table"},
    {"plan cluster", "figures", "object", "as of `plan`"},
    {"plan cluster", "assumptions", "array of objects", "as of `plan`"},
    {"plan cluster", "warnings", "array of objects", "as of `plan`"},
    {"plan cluster", "notes", "array of strings", "as of `plan`"},

    {"plan solve", "unknown", "string",
     "what was asked for: \"parameters\", \"tokens\", \"devices\", \"days\", \"money\" or \"split\""},
    {"plan solve", "figures", "object", "as of `plan`"},
    {"plan solve", "assumptions", "array of objects", "as of `plan`"},
    {"plan solve", "warnings", "array of objects", "as of `plan`"},
    {"plan solve", "notes", "array of strings", "as of `plan`"},

    {"plan sweep", "money_is", "string", "\"rent\", or \"depreciation and electricity\""},
    {"plan sweep", "points", "array of objects",
     "device, count, time_s, money_usd and mfu (each low, expected, high), on_frontier (nothing else is both faster and "
     "cheaper)"},
    {"plan sweep", "left_out", "array of objects", "device, count, reason (an error): what does not fit"},
    {"plan sweep", "warnings", "array of objects", "as of `plan`"},

    {"plan founding", "figures", "array of objects",
     "key, what, unit, stated, computed (null: nothing to compute), relation (\"agrees\", \"rounded\", \"within our interval\", "
     "\"errs\", \"is another quantity\", \"measured\"), convention (that makes it come out), why"},
    {"plan founding", "missing_time", "array of objects", "what, days (with this cause and all before it), why"},

    {"explain", "graph_digest", "string", "names the training graph"},
    {"explain", "dtype", "string", "\"f32\", \"bf16\" or \"exact\""},
    {"explain", "parameters", "integer", ""},
    {"explain", "step_tokens", "integer", ""},
    {"explain", "step_flops", "number", ""},
    {"explain", "micro_batches", "integer", "per step"},
    {"explain", "phases", "array of objects",
     "phase, runs (per step), nodes (before fusion), calls (after), flops, bytes_before and "
     "bytes_after (moved per step)"},
    {"explain", "kernels", "array of objects",
     "phase, kernel, implementation, calls (per run), flops and bytes per step"},
    {"explain", "memory", "object",
     "bytes: state, accumulators, work, stash, inputs, total, least (no plan can be smaller), "
     "snapshots (the copies that checkpoints need), evaluation (its programs, samples too), all (total, snapshots and "
     "evaluation: what a memory limit is about); recomputed (are elementwise ops and norms?) and recomputed_blocks"},
    {"explain", "cuts", "array of objects",
     "after_block, legal, reason, forward_bytes and backward_bytes per micro-batch"},
    {"explain", "measured", "object or null",
     "with --measure: steps, threads, step_ms_median, the limits beside it as product_flops_per_s, "
     "elementwise_flops_per_s and bytes_per_s (reading or copying memory, the better), and calls in "
     "running order: phase, call (index in the phase), kernel, block, implementation, operands, bytes "
     "(inputs once and outputs once, the least the call can move) and flops per step, limit "
     "(\"compute\" or \"memory\"), predicted_ms (at that limit), measured_ms (median per step), "
     "share_of_limit (predicted over measured; above 1 if caches held the data)"},

    {"calibrate", "format", "string", "\"suanli profile\": the object is the profile's file (docs/formats/profile.md)"},
    {"calibrate", "version", "integer", "of the format"},
    {"calibrate", "machine", "string", "brand of the CPU"},
    {"calibrate", "host", "string", "name of the machine"},
    {"calibrate", "build", "string", "version of suanli"},
    {"calibrate", "time", "string", "when it was finished, UTC"},
    {"calibrate", "quick", "boolean", "made with --quick"},
    {"calibrate", "threads", "integer", "that computed"},
    {"calibrate", "cores", "integer", "that the process may use"},
    {"calibrate", "waited_share", "number",
     "of one core: how long threads waited for cores that other programs had; what was measured meanwhile is left out if enough "
     "is left"},
    {"calibrate", "memory_bytes", "integer", "of the machine or its control group"},
    {"calibrate", "l2_bytes", "integer", "of one core's second cache; 0: unknown"},
    {"calibrate", "l3_bytes", "integer", "of the last cache; 0: unknown"},
    {"calibrate", "clock_hz", "object", "low, expected, high (four of five calibrations lie within): of one core"},
    {"calibrate", "read_bytes_per_s", "object", "low, expected, high: reading memory, all threads"},
    {"calibrate", "copy_bytes_per_s", "object", "the same of copying, bytes read and bytes written both counted"},
    {"calibrate", "elementwise_flops_per_s", "object", "the same of f32 multiply-adds in registers"},
    {"calibrate", "launch_s", "object", "the same of a kernel call that does next to nothing"},
    {"calibrate", "peaks", "array of objects",
     "dtype, loop, flops_per_s (low, expected, high), nominal_flops_per_s: the limits that bench holds kernels against"},
    {"calibrate", "step_overheads", "array of objects", "dtype, factor (low, expected, high): a step over the sum of its calls"},
    {"calibrate", "matmuls", "array of objects",
     "dtype, shape_class, m, n, k, flops_per_s (low, expected, high): bare matrix products"},
    {"calibrate", "kernels", "array of objects",
     "kind, dtype, sizes, flops, bytes, seconds (low, expected, high): calls as they run in training steps"},
    {"calibrate", "disk", "object or null", "write_bytes_per_s, read_bytes_per_s, read_from_cache, sync_s"},
    {"calibrate", "idle_watts", "object or null", "low, expected, high: of the processor package; null where it does not tell"},
    {"calibrate", "busy_watts", "object or null", "the same while all threads compute"},

    {"plan validate", "file", "string", "of the published runs"},
    {"plan validate", "rows", "array of objects",
     "line (of the file), name, quantity, unit, level (\"step\", \"run\", \"memory\", \"flops\"), published, predicted (low, "
     "expected, high), error (predicted over published, less 1), within (the published value lies in the interval; null "
     "where there is none), source_left_out (constants were fitted without its publication), source, assumed (strings)"},
    {"plan validate", "left_out", "array of objects", "line, name, quantity, published, reason, source"},
    {"plan validate", "quantities", "array of objects", "quantity, rows, median_error, p90_error: of absolute errors"},
    {"plan validate", "step", "object", "the same of all rows of level step"},
    {"plan validate", "step_in_sample", "object", "the same with the constants in use, no publication left out"},
    {"plan validate", "mfu_from_throughput", "object",
     "the same of MFU computed from the published throughput by 6 N + 12 L h s per token"},
    {"plan validate", "step_coverage", "object",
     "within, rows, share: figures of steps that their intervals hold; null without rows"},
    {"plan validate", "run_coverage", "object", "the same of whole runs"},
    {"plan validate", "measured_run_coverage", "object", "the same without whole runs that their authors projected"},
    {"plan validate", "step_spread", "object",
     "low, expected, high: 10th percentile, median and 90th of true over expected step time"},
    {"plan validate", "run_factor", "object", "the same of whole runs over their steady steps, each publication weighted"},
    {"plan validate", "constants", "array of objects", "key, value, prior, spread (of its logarithm), meaning"},
    {"plan validate", "svg", "string or null", "picture; null if there is none"},

    {"bench list", "cases", "array of objects",
     "case, what, layers, heads, width, context, vocab, batch (sequences)"},

    {"bench", "case", "string", "name"},
    {"bench", "dtype", "string", "\"f32\", \"bf16\" or \"exact\""},
    {"bench", "threads", "integer", "that compute, as the system granted them"},
    {"bench", "steps", "integer", "that were timed, after 2 that were not"},
    {"bench", "tokens_per_s", "number", "of the median step"},
    {"bench", "step_ms_median", "number", "whole step: forward, backward and AdamW"},
    {"bench", "step_ms_p10", "number", "10th percentile of the timed steps"},
    {"bench", "step_ms_p90", "number", "90th percentile of the timed steps"},
    {"bench", "mfu", "number", "flops_per_step over the median step, of nominal_flops_per_s"},
    {"bench", "efficiency", "number",
     "the same of calibration_flops_per_s; with bf16 on a CPU without AMX tiles that loop is f32, which AVX512-BF16 "
     "instructions may exceed: compare such figures only among themselves"},
    {"bench", "gemm_share_of_calibration", "number",
     "the same of the GEMM calls alone: their operations over their time, both with what such a call does to its result "
     "(bias, activation, the vocabulary's loss)"},
    {"bench", "calibration_flops_per_s", "number",
     "all threads in a loop with nothing in its way, median of 20 ms after each step"},
    {"bench", "calibration_loop", "string", "which loop that is"},
    {"bench", "nominal_flops_per_s", "number",
     "dense peak: operations per cycle of AMX (1,024), AVX-512 (64) or AVX2 (32), times clock_hz and threads, or cores "
     "if those are fewer"},
    {"bench", "clock_hz", "number", "of one core, from a chain of dependent additions"},
    {"bench", "cpu_per_wall", "number",
     "cores busy with this process during a step, median; well below threads: others had them"},
    {"bench", "flops_per_step", "number",
     "of all ops of the graph as written, elementwise and AdamW too, recomputation not; attention counts the pairs under "
     "its causal mask"},
    {"bench", "tokens_per_step", "integer", ""},
    {"bench", "params", "integer", ""},
    {"bench", "peak_rss_bytes", "integer", "of the process"},
    {"bench", "state_bytes", "integer", "parameters and optimizer state"},
    {"bench", "arena_bytes", "integer", "everything else that a step keeps, planned"},
    {"bench", "arena_least_bytes", "integer", "no plan can be smaller"},
    {"bench", "memory_limit_bytes", "integer", "of state, inputs and arena, as --memory says; 0: none"},
    {"bench", "recomputed", "boolean", "backward makes elementwise ops and norms again"},
    {"bench", "recomputed_blocks", "integer",
     "to keep the memory limit, so many blocks, from the first on, are made again whole"},
    {"bench", "compile_ms", "number", "from graph to program"},
    {"bench", "start_to_first_step_ms", "number", "from the start of the process to the end of the first step"},
    {"bench", "start_ms", "object",
     "where that went: launch, graph, compile, state (initial values), executor (memory and kernels), step"},
    {"bench", "kinds", "array of objects",
     "phase, kernel, calls (in the program), ms (of a step, median), longest first"},

    {"generate", "run", "string", "the run folder"},
    {"generate", "step", "integer", "of the checkpoint used"},
    {"generate", "prompt", "string", ""},
    {"generate", "text", "string", "what was generated; bytes that are not UTF-8 are replaced"},
    {"generate", "tokens", "integer", "that were generated"},
    {"generate", "seconds", "number", ""},

    {"eval", "run", "string", "the run folder"},
    {"eval", "step", "integer", "of the checkpoint used"},
    {"eval", "data", "string", "the dataset's folder"},
    {"eval", "split", "string", "\"train\" or \"valid\""},
    {"eval", "loss", "number", "nats per token"},
    {"eval", "perplexity", "number", "exp of the loss"},
    {"eval", "bits_per_byte", "number or null", "null where tokens are not bytes"},
    {"eval", "tokens", "integer", "that were looked at"},
    {"eval", "seconds", "number", ""},

    {"plot", "svg", "string", "path of the written picture"},
    {"plot", "steps", "integer", "training losses read"},
    {"plot", "evaluations", "integer", "validation losses read"},
    {"plot", "damaged_lines", "integer", "left out"},

    {"meter", "run", "string", "the run folder"},
    {"meter", "steps", "integer", "done and kept"},
    {"meter", "steps_planned", "integer", "of the job"},
    {"meter", "sessions", "array of objects",
     "first_step, dtype, threads, setup_seconds (before its clock began), peak_flops_per_s (of MFU, or null), outcome (null: "
     "killed, or at work)"},
    {"meter", "flops", "number", "operations of the run, all sessions, evaluations and discarded work too"},
    {"meter", "flops_by_op", "object", "of these, by op"},
    {"meter", "flops_unnamed", "number", "of these, not known by op: written by older versions"},
    {"meter", "parts", "array of objects",
     "part (forward, backward, update, evaluation, sample), runs, flops, bytes; empty if not known"},
    {"meter", "bytes", "integer or null", "that kernel calls read and wrote"},
    {"meter", "seconds", "object or null",
     "by cause: data, forward, backward, update, communication, evaluate, checkpoint, waiting (for the rate cap), metering, "
     "other; together all the time of all sessions"},
    {"meter", "compute_seconds", "number or null", "forward, backward and update"},
    {"meter", "joules_counted", "number or null", "by the processor packages and their memory"},
    {"meter", "joules_counted_seconds", "number", "the time over which they were counted"},
    {"meter", "energy_is_measured", "boolean", "false: energy and money are estimated, at least in part"},
    {"meter", "planned", "object or null",
     "source, and items: item (step time, time, FLOPs, memory), unit, planned (low, expected, high), actual, deviation "
     "(actual / expected - 1), inside (of the interval), why (of the interval; may be empty), reasons (if not inside)"},
    {"meter", "figures", "object", "by key (`suanli help figures`): low, expected, high, unit, why, influences"},
    {"meter", "assumptions", "array of objects", "key, text, low, expected, high, unit, source"},
    {"meter", "warnings", "array of objects", "code, exit_code, message, place, next_step"},
    {"meter", "notes", "array of strings", ""},

    {"compare profiles", "a", "object", "file, dtype (or null), machine, threads, time, quick: what the first argument names"},
    {"compare profiles", "b", "object", "the same of the second"},
    {"compare profiles", "rates", "array of objects",
     "group, subject, unit, a, b and ratio (b / a; each low, expected, high), why: larger figures are better"},
    {"compare profiles", "jobs", "array of objects",
     "job, a_dtype, b_dtype, step_flops, a_step_s, b_step_s, ratio (steps of b in one of a; each low, expected, high), parts: "
     "part, a_s, b_s (expected), a_memory_bound, b_memory_bound (the share of that in calls that memory bounds)"},
    {"compare profiles", "lowest", "object", "ratio, subject: the least of matrix products, memory and jobs"},
    {"compare profiles", "highest", "object", "the same, the most"},
    {"compare profiles", "warnings", "array of objects", "code, exit_code, message, place, next_step"},

    {"compare runs", "run1", "object",
     "run, parameters, dtype, dataset_sha256, tokenizer, steps, evaluations, best_valid_loss"},
    {"compare runs", "run2", "object", "the same"},
    {"compare runs", "levels", "array of objects",
     "loss (validation, falling), is_best (the best that both reached), run1 and run2: step, operations, seconds, tokens, joules "
     "(or null) until then; ratio: operations, seconds, tokens, joules: of run2 over run1, or null"},
    {"compare runs", "warnings", "array of objects", "code, exit_code, message, place, next_step"},
    {"compare runs", "svg", "string or null", "path of the written picture"},

    {"ckpt list", "run", "string", "the run folder"},
    {"ckpt list", "checkpoints", "array of objects",
     "step, bytes, root (digest of all tensors), state: listed, verified or damaged; damage: "
     "sentence or null"},

    {"digest", "run", "string", "the run folder"},
    {"digest", "step", "integer", "steps done"},
    {"digest", "arithmetic", "string", "\"exact/1\", \"bf16\" or \"f32\": how the run computes"},
    {"digest", "root", "string", "Merkle root over all tensors, docs/formats/checkpoint.md"},
    {"digest", "tensors", "array of objects", "name, dtype, shape, sha256; all of them, or the one that --tensor names"},
    {"digest", "job", "string or null", "with --ops: SHA-256 of all that decides the step, docs/formats/digests.md"},
    {"digest", "loss", "number or null", "with --ops: of the step, before its update"},
    {"digest", "grad_norm", "number or null", "with --ops: of the step, before clipping"},
    {"digest", "only_node", "integer or null", "with --op: the node that `ops` is limited to"},
    {"digest", "ops", "array of objects or null",
     "with --ops, each output of the step in its order: micro_batch (-1: none), node (canonical; -1: none), op, value, phase, "
     "block, dtype, shape, root, leaves; docs/formats/digests.md"},

    {"replay", "run", "string", "the run folder"},
    {"replay", "against", "string", "what it was compared with"},
    {"replay", "arithmetic", "string", "as of digest"},
    {"replay", "isa", "string", "scalar, avx2, avx512 or amx: the most that exact kernels used; of other arithmetics empty"},
    {"replay", "threads", "integer", "that computed"},
    {"replay", "from", "integer", "the state that was begun with"},
    {"replay", "to", "integer", "the last state that was to be compared"},
    {"replay", "recomputed_steps", "integer", "what was made again to find the op included"},
    {"replay", "compared_roots", "integer", "of states"},
    {"replay", "compared_figures", "integer", "steps whose loss and gradient norm were compared"},
    {"replay", "compared_ops", "boolean", "every output of one step was compared"},
    {"replay", "last_compared", "integer or null", "the last step of which something was compared and equal"},
    {"replay", "seconds", "number", "of the recomputation"},
    {"replay", "equal", "boolean", "exit code 0 if true, else 8"},
    {"replay", "accused", "string",
     "who is not what this machine computes: \"run\", \"against\" or \"both\"; empty if nothing differs"},
    {"replay", "difference", "object or null",
     "step (the first that differs), last_equal (state that was compared and equal, or null), sign (root, loss, grad_norm or "
     "ops), is_state_after (the output is a tensor of the state after the step), output (null where not known: text, "
     "micro_batch, node, op, value, phase, block, dtype, shape), element (null where not known: first, count, "
     "position, mine, theirs)"},
    {"replay", "notes", "array of objects", "errors that kept the op or the element from being found"},

    {"version", "version", "string", ""},
};

}  // namespace

std::span<const JsonField> json_fields() { return kFields; }

void check_fields(std::string_view record, const Json& object) {
  auto item = object.begin();
  for (const JsonField& field : kFields) {
    if (field.record != record) continue;
    SUANLI_CHECK(item != object.end() && item.key() == field.name);
    ++item;
  }
  SUANLI_CHECK(item == object.end() && !object.empty());
}

std::string json_reference_markdown() {
  std::string page =
      "# JSON output\n\n"
      "With `--json` a command prints one JSON object on one line of standard output, "
      "`suanli train`, `suanli logs` and the verbs that list one line per event or item. Talk\n"
      "and errors still go to standard error; a command "
      "that fails prints the `error` object as its last line. Fields are\nstable: new ones may "
      "come, none changes its meaning.\n\n"
      "This page is printed from the table in `suanli/cli/json_records.cc`.\n";
  std::string_view record;
  for (const JsonField& field : kFields) {
    if (field.record != record) {
      record = field.record;
      page +=
          "\n## " + std::string(record) + "\n\n| field | type | meaning |\n| --- | --- | --- |\n";
    }
    page += "| `" + std::string(field.name) + "` | " + std::string(field.type) + " | " +
            std::string(field.meaning) + " |\n";
  }
  return page;
}

}  // namespace suanli::cli
