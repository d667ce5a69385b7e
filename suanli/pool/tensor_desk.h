// Tensors on request: one side of a link asks for some by name, the other sends them. A coordinator gets the state of a job from
// its workers so, and a worker that begins from a snapshot gets it from the coordinator. docs/protocols/pool-control.md.
//
// Of one link's requests one is served at a time, since it may ask for a copy of a whole state; a few more wait as texts.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "suanli/net/link.h"
#include "suanli/pool/message_channel.h"
#include "suanli/protocol/messages.h"

namespace suanli::pool {

struct TensorRequest : protocol::JobEpoch {
  std::uint64_t number = 0;  // of the asker's choice, never used again on the link
  std::int64_t step = 0;
  std::vector<std::string> names;
};
struct TensorRefusal {
  std::uint64_t number = 0;
  Error error;
};

std::string encode(const TensorRequest& request);
std::string encode(const TensorRefusal& refusal);
// Errors: protocol, naming the field.
Result<TensorRequest> parse_tensor_request(std::string_view text, const std::string& place);
Result<TensorRefusal> parse_tensor_refusal(std::string_view text, const std::string& place);

using SharedBytes = std::shared_ptr<const std::vector<std::byte>>;

// Any thread.
class TensorDesk {
 public:
  // Where requests that had to wait are served: on the thread that calls on_request().
  using Executor = std::function<void(std::function<void()>)>;
  // Requests of one link that wait for the one that is served. More are refused (busy).
  static constexpr std::size_t kMostWaiting = 2;
  explicit TensorDesk(Executor executor) : executor_(std::move(executor)) {}

  // The asked for tensors, in order, as they were at that step.
  using Giver = std::function<Result<std::vector<SharedBytes>>(const TensorRequest&)>;

  // Asks and waits, some tensors at a time; any thread but the link's. Each tensor has the size of its buffer; the request's
  // number is filled in. Errors: what the giver said; those of the link; timed_out; what give_up() said. `is_wanted` is asked
  // once give_up() would be heard, and again for later tensors: false is error cancelled.
  Status fetch(net::Link& link, const TensorRequest& request, const std::vector<std::span<std::byte>>& buffers,
               const std::function<bool()>& is_wanted = [] { return true; });
  // Fetches of this job that wait fail with this error.
  void give_up(const protocol::JobEpoch& job, const Error& why);
  // A text of kind `request` or `response` came over the link: gives what was asked for, perhaps later, or tells fetch() of a
  // refusal. The giver outlives the executor's calls.
  Status on_request(const std::shared_ptr<net::Link>& link, std::string_view text, const Giver& giver);
  void on_response(std::string_view text, const std::string& place);

 private:
  Status fetch_part(net::Link& link, TensorRequest request, std::span<const std::span<std::byte>> buffers,
                    const std::function<bool()>& is_wanted);
  void serve(const std::shared_ptr<net::Link>& link, const TensorRequest& request, const Giver& giver);
  void end_serving(const std::weak_ptr<net::Link>& link);
  // Of a link that is being served.
  struct Serving {
    std::deque<std::pair<TensorRequest, Giver>> waiting;
  };
  struct Waiting {
    protocol::JobEpoch job;
    std::mutex mutex;
    std::condition_variable changed;
    std::size_t open = 0;
    std::optional<Error> failure;
  };
  const Executor executor_;
  std::mutex mutex_;
  // Until a link's last transfer has ended, which those of a closed link do.
  std::map<std::weak_ptr<net::Link>, Serving, std::owner_less<>> serving_;
  std::uint64_t last_number_ = 0;
  std::map<std::uint64_t, std::shared_ptr<Waiting>> waiting_;
};

}  // namespace suanli::pool
