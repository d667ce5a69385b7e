#include "suanli/train/snapshots.h"

#include <utility>

#include "suanli/base/text.h"

namespace suanli::train {

SnapshotSaver::SnapshotSaver(engine::State& state, checkpoint::Tier& tier, int keep)
    : state_(state), writer_(tier, keep) {}

SnapshotSaver::~SnapshotSaver() { finish(); }

Status SnapshotSaver::begin(const SnapshotMeta& meta) {
  submit_pending();
  checkpoint::Snapshot snapshot = writer_.recycle();
  snapshot.step = meta.step;
  snapshot.meta_json = print_meta(meta);
  const auto& tensors = state_.tensors();
  snapshot.tensors.resize(tensors.size());
  std::vector<std::byte*> to;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    checkpoint::NamedTensor& copy = snapshot.tensors[i];
    copy.name = tensors[i].name;
    copy.type = tensors[i].type;
    copy.data.resize(static_cast<std::size_t>(copy.type.bytes().value()));
    to.push_back(copy.data.data());
  }
  SUANLI_ASSIGN_OR_RETURN(const engine::State::Capture capture, state_.capture(to));
  copied_ = capture.done;
  pending_ = std::move(snapshot);
  return {};
}

void SnapshotSaver::poll() {
  if (pending_ && state_.device().reached(copied_)) submit_pending();
}

void SnapshotSaver::submit_pending() {
  if (!pending_) return;
  state_.device().synchronize(copied_);
  writer_.submit(std::move(*pending_));
  pending_.reset();
}

void SnapshotSaver::finish() {
  submit_pending();
  keep_news(writer_.drain());
}

SnapshotSaver::News SnapshotSaver::news() {
  keep_news(writer_.poll());
  return std::exchange(news_, News());
}

void SnapshotSaver::keep_news(checkpoint::BackgroundWriter::Progress progress) {
  if (progress.saved_step != saved_step_) news_.saved_step = saved_step_ = progress.saved_step;
  if (!progress.errors.empty()) last_error_ = progress.errors.back();
  for (Error& error : progress.errors) news_.errors.push_back(std::move(error));
}

bool is_of_replicas(std::string_view name) { return name.starts_with("replica/") || name.starts_with("outer."); }

namespace {

Result<Restored> restore(const checkpoint::Tier& tier, engine::State& state, const std::string& place,
                         const checkpoint::TensorFilter& is_wanted, bool takes_replicas) {
  auto latest = checkpoint::load_latest(tier, is_wanted);
  if (!latest && latest.error().place.empty())
    return tl::unexpected(std::move(latest).error().within(place));
  SUANLI_ASSIGN_OR_RETURN(checkpoint::LoadedSnapshot loaded, std::move(latest));
  const checkpoint::Snapshot& snapshot = loaded.snapshot;
  const std::string from = place + ": snapshot of step " + std::to_string(snapshot.step);
  SUANLI_ASSIGN_OR_RETURN(SnapshotMeta meta, parse_meta(snapshot.meta_json, from));
  if (takes_replicas)
    for (const checkpoint::NamedTensor& tensor : snapshot.tensors)
      if (is_of_replicas(tensor.name)) SUANLI_RETURN_IF_ERROR(state.add(tensor.name, tensor.type, tensor.bytes()));
  SUANLI_RETURN_IF_ERROR(write_state(snapshot, state, from));
  return Restored{std::move(meta), std::move(loaded.damages)};
}

}  // namespace

Result<Restored> restore_latest(const checkpoint::Tier& tier, engine::State& state,
                                const std::string& place, bool parameters_only) {
  const auto is_wanted = [&](std::string_view name) {
    return !parameters_only || state.find(name) != nullptr;
  };
  return restore(tier, state, place, is_wanted, /*takes_replicas=*/false);
}

Result<Restored> restore_latest_with_replicas(const checkpoint::Tier& tier, engine::State& state, const std::string& place) {
  return restore(tier, state, place, {}, /*takes_replicas=*/true);
}

Status write_state(const checkpoint::Snapshot& snapshot, engine::State& state, const std::string& from) {
  for (const checkpoint::NamedTensor& tensor : snapshot.tensors)
    if (is_of_replicas(tensor.name) && state.find(tensor.name) == nullptr)
      return fail(ErrorCode::mismatch,
                  "it holds what replicas on a pool keep, such as '" + printable(tensor.name) +
                      "', and one machine alone can neither go on with that nor compute it again",
                  from, "go on with the run on a pool: 'suanli train RUN --resume --on POOL', or '--on local:N'");
  if (snapshot.tensors.size() != state.tensors().size())
    return fail(ErrorCode::mismatch,
                "it has " + std::to_string(snapshot.tensors.size()) + " of the model's " +
                    std::to_string(state.tensors().size()) + " tensors",
                from, "resume with the job that began the run");
  for (const checkpoint::NamedTensor& tensor : snapshot.tensors) {
    const engine::State::Tensor* known = state.find(tensor.name);
    if (known == nullptr || known->type != tensor.type)
      return fail(ErrorCode::mismatch,
                  "tensor '" + printable(tensor.name) + "' is " + tensor.type.to_string() +
                      " but the model " +
                      (known ? "has it as " + known->type.to_string() : "has none of this name"),
                  from, "resume with the job that began the run");
    SUANLI_RETURN_IF_ERROR(state.write(tensor.name, tensor.bytes()));
  }
  return {};
}

}  // namespace suanli::train
