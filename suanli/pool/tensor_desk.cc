#include "suanli/pool/tensor_desk.h"

#include <algorithm>
#include <atomic>
#include <nlohmann/json.hpp>
#include <utility>

#include "suanli/base/error_name.h"
#include "suanli/model/strict_json.h"

namespace suanli::pool {
namespace {

using Json = nlohmann::json;

constexpr int kDepth = 4;
constexpr std::size_t kMostNames = 1'000'000, kMostNameBytes = 300;

tl::unexpected<Error> refused(const std::string& place, const std::string& field) {
  return fail(ErrorCode::protocol, "the field '" + field + "' is missing or is not what it should be", place,
              "check the peer's version of suanli");
}

Result<Json> parse(std::string_view text, const std::string& place) {
  auto json = model::parse_strict_json(text, place, kDepth);
  if (!json || !json->is_object())
    return fail(ErrorCode::protocol, json ? "the message is no object" : json.error().message, place,
                "check the peer's version of suanli");
  return *json;
}

template <typename T>
bool take_number(const Json& json, const char* key, T& number) {
  const auto found = json.find(key);
  if (found == json.end() || !found->is_number_integer() || (!found->is_number_unsigned() && found->get<std::int64_t>() < 0))
    return false;
  number = static_cast<T>(found->get<std::uint64_t>());
  return true;
}

bool take_text(const Json& json, const char* key, std::string& text, std::size_t most) {
  const auto found = json.find(key);
  if (found == json.end() || !found->is_string()) return false;
  text = found->get<std::string>();
  return text.size() <= most;
}

// Tensors that a link may be asked for at once; it takes 4,096 transfers in all.
constexpr std::size_t kAtOnce = 1024;

// Ten minutes, and as long again as the bytes take at a twentieth of the line's rate, or at 1 MB/s where it is not known.
Seconds deadline_of(const net::Link& link, Bytes bytes) {
  const net::LinkMeasures measures = link.measures();
  double rate = std::max(measures.rate_in.value(), measures.probed_in.value());
  if (measures.rate_out.value() > 0) rate = std::min(rate > 0 ? rate : 1e300, measures.rate_out.value());
  const double slow = rate > 0 ? rate / 20 : 1e6;
  return Seconds(600 + static_cast<double>(bytes.value()) / slow);
}

net::Tag tag_of_tensor(std::uint64_t number, std::size_t index) {
  return {std::uint64_t{1} << 63 | number, static_cast<std::uint64_t>(index)};
}

}  // namespace

std::string encode(const TensorRequest& request) {
  return Json{{"epoch", request.epoch},
              {"job", request.job},
              {"names", request.names},
              {"number", request.number},
              {"step", request.step}}
      .dump();
}

std::string encode(const TensorRefusal& refusal) {
  const Error error = protocol::cut_to_fit(refusal.error);
  return Json{{"code", name_of(error.code)},
              {"message", error.message},
              {"next_step", error.next_step},
              {"number", refusal.number},
              {"place", error.place}}
      .dump(-1, ' ', false, Json::error_handler_t::replace);
}

Result<TensorRequest> parse_tensor_request(std::string_view text, const std::string& place) {
  SUANLI_ASSIGN_OR_RETURN(const Json json, parse(text, place));
  TensorRequest request;
  if (json.size() != 5) return refused(place, "(unknown)");
  if (!take_number(json, "epoch", request.epoch)) return refused(place, "epoch");
  if (!take_text(json, "job", request.job, kMostNameBytes)) return refused(place, "job");
  if (!take_number(json, "number", request.number) || request.number >> 63 != 0) return refused(place, "number");
  if (!take_number(json, "step", request.step) || request.step < 0) return refused(place, "step");
  const auto names = json.find("names");
  if (names == json.end() || !names->is_array() || names->size() > kMostNames) return refused(place, "names");
  for (const Json& name : *names) {
    if (!name.is_string() || name.get_ref<const std::string&>().size() > kMostNameBytes) return refused(place, "names");
    request.names.push_back(name.get<std::string>());
  }
  std::vector<std::string_view> sorted(request.names.begin(), request.names.end());
  std::ranges::sort(sorted);
  if (std::ranges::adjacent_find(sorted) != sorted.end()) return refused(place, "names");  // a tensor is asked for once
  return request;
}

Result<TensorRefusal> parse_tensor_refusal(std::string_view text, const std::string& place) {
  SUANLI_ASSIGN_OR_RETURN(const Json json, parse(text, place));
  TensorRefusal refusal;
  std::string code;
  if (json.size() != 5) return refused(place, "(unknown)");
  if (!take_number(json, "number", refusal.number)) return refused(place, "number");
  if (!take_text(json, "code", code, kMostNameBytes)) return refused(place, "code");
  const auto known = error_code_named(code);
  if (!known) return refused(place, "code");
  refusal.error.code = *known;
  for (const auto& [key, field] : {std::pair<const char*, std::string*>{"message", &refusal.error.message},
                                   {"place", &refusal.error.place},
                                   {"next_step", &refusal.error.next_step}})
    if (!take_text(json, key, *field, 3 * protocol::kMostErrorText)) return refused(place, key);
  return refusal;
}

Status TensorDesk::fetch(net::Link& link, const TensorRequest& request, const std::vector<std::span<std::byte>>& buffers,
                         const std::function<bool()>& is_wanted) {
  SUANLI_CHECK(buffers.size() == request.names.size());
  for (std::size_t begin = 0; begin < buffers.size(); begin += kAtOnce) {
    const std::size_t end = std::min(buffers.size(), begin + kAtOnce);
    TensorRequest part = request;
    part.names.assign(request.names.begin() + static_cast<std::ptrdiff_t>(begin),
                      request.names.begin() + static_cast<std::ptrdiff_t>(end));
    SUANLI_RETURN_IF_ERROR(fetch_part(link, std::move(part), std::span(buffers).subspan(begin, end - begin), is_wanted));
  }
  return {};
}

Status TensorDesk::fetch_part(net::Link& link, TensorRequest request, std::span<const std::span<std::byte>> buffers,
                              const std::function<bool()>& is_wanted) {
  Bytes total;
  for (const std::span<std::byte> buffer : buffers) total += Bytes(static_cast<std::int64_t>(buffer.size()));
  const Seconds deadline = deadline_of(link, total);
  const auto waiting = std::make_shared<Waiting>();
  waiting->job = request;
  waiting->open = buffers.size();
  {
    const std::lock_guard lock(mutex_);
    request.number = ++last_number_;
    waiting_[request.number] = waiting;
  }
  // From here on give_up() is heard.
  if (!is_wanted()) {
    const std::lock_guard lock(mutex_);
    waiting_.erase(request.number);
    return tl::unexpected(Error{ErrorCode::cancelled, "the tensors are not wanted any more", "job " + request.job, ""});
  }
  std::vector<net::TransferId> transfers;
  for (std::size_t i = 0; i < buffers.size(); ++i)
    transfers.push_back(link.receive(tag_of_tensor(request.number, i), buffers[i], {.deadline = deadline},
                                     [waiting, size = buffers[i].size(), name = request.names[i]](Result<Bytes> came) {
                                       const std::lock_guard lock(waiting->mutex);
                                       --waiting->open;
                                       if (!waiting->failure && !came) waiting->failure = came.error();
                                       if (!waiting->failure && came && *came != Bytes(static_cast<std::int64_t>(size)))
                                         waiting->failure = Error{ErrorCode::protocol,
                                                                  "it has " + std::to_string(came->value()) +
                                                                      " bytes instead of " + std::to_string(size),
                                                                  name, "check the peer's version of suanli"};
                                       waiting->changed.notify_all();
                                     }));
  const Status asked = send_text(link, TextKind::request, encode(request));
  std::unique_lock lock(waiting->mutex);
  if (!asked && !waiting->failure) waiting->failure = asked.error();
  waiting->changed.wait(lock, [&] { return waiting->open == 0 || waiting->failure; });
  if (waiting->open > 0) {  // one has failed: the buffers are free again when all have ended
    lock.unlock();
    for (const net::TransferId id : transfers) link.cancel(id);
    lock.lock();
    waiting->changed.wait(lock, [&] { return waiting->open == 0; });
  }
  {
    const std::lock_guard guard(mutex_);
    waiting_.erase(request.number);
  }
  if (waiting->failure) return tl::unexpected(*waiting->failure);
  return {};
}

void TensorDesk::give_up(const protocol::JobEpoch& job, const Error& why) {
  const std::lock_guard lock(mutex_);
  for (const auto& [number, waiting] : waiting_) {
    const std::lock_guard guard(waiting->mutex);
    if (waiting->job != job || waiting->failure) continue;
    waiting->failure = why;
    waiting->changed.notify_all();
  }
}

Status TensorDesk::on_request(const std::shared_ptr<net::Link>& link, std::string_view text, const Giver& giver) {
  SUANLI_ASSIGN_OR_RETURN(TensorRequest request, parse_tensor_request(text, "peer " + link->peer().key().short_text()));
  {
    const std::lock_guard lock(mutex_);
    const auto [own, is_first] = serving_.try_emplace(link);
    if (!is_first && own->second.waiting.size() < kMostWaiting) {
      own->second.waiting.emplace_back(std::move(request), giver);
      return {};
    }
    if (!is_first)
      return send_text(*link, TextKind::response,
                       encode(TensorRefusal{request.number,
                                            {ErrorCode::busy, "other tensors are still on their way to this peer", "link",
                                             "ask again when they have come"}}));
  }
  serve(link, request, giver);
  return {};
}

void TensorDesk::serve(const std::shared_ptr<net::Link>& link, const TensorRequest& request, const Giver& giver) {
  auto given = giver(request);
  if (!given || given->empty()) {
    // A link that takes no refusal is closed, and says so itself.
    if (!given) (void)send_text(*link, TextKind::response, encode(TensorRefusal{request.number, given.error()}));
    return end_serving(link);
  }
  SUANLI_CHECK(given->size() == request.names.size());
  Bytes total;
  for (const SharedBytes& tensor : *given) total += Bytes(static_cast<std::int64_t>(tensor->size()));
  const auto open = std::make_shared<std::atomic<std::size_t>>(given->size());
  for (std::size_t i = 0; i < given->size(); ++i)
    link->send(tag_of_tensor(request.number, i), *(*given)[i], {.deadline = deadline_of(*link, total)},
               [this, open, kept = (*given)[i], weak = std::weak_ptr(link)](const Result<Bytes>&) {
                 if (--*open == 0) executor_([this, weak] { end_serving(weak); });
               });
}

// Goes on with the next request, if one waits.
void TensorDesk::end_serving(const std::weak_ptr<net::Link>& weak) {
  std::pair<TensorRequest, Giver> next;
  const std::shared_ptr<net::Link> link = weak.lock();
  {
    const std::lock_guard lock(mutex_);
    const auto own = serving_.find(weak);
    if (own == serving_.end()) return;
    if (!link || own->second.waiting.empty()) return void(serving_.erase(own));
    next = std::move(own->second.waiting.front());
    own->second.waiting.pop_front();
  }
  serve(link, next.first, next.second);
}

void TensorDesk::on_response(std::string_view text, const std::string& place) {
  const auto refusal = parse_tensor_refusal(text, place);
  if (!refusal) return;
  const std::lock_guard lock(mutex_);
  const auto found = waiting_.find(refusal->number);
  if (found == waiting_.end()) return;
  const std::lock_guard guard(found->second->mutex);
  if (!found->second->failure) found->second->failure = refusal->error;
  found->second->changed.notify_all();
}

}  // namespace suanli::pool
