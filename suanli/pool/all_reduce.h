// All replicas of a stage add up what each of them holds, and all get the same bits: each owns a share of the elements, adds
// those of all ranks in their order, and hands its share round. Every element travels 2 (R - 1) / R times out of each of R ranks,
// the least there is (Patarasu and Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations", JPDC 2009).
#pragma once

#include <algorithm>
#include <cstring>
#include <functional>
#include <span>
#include <vector>

#include "suanli/pool/exchange.h"

namespace suanli::pool {

struct Ranks {
  std::span<const WorkerIndex> workers;  // by rank
  std::size_t own = 0;
};

// `combine(total, term)` is called for ranks 1, 2, ... on a total that begins as rank 0's. `label` has its purpose set.
template <typename T, typename Combine>
Status all_reduce(Exchange& exchange, const Ranks& ranks, Label label, std::vector<T>& values, const Combine& combine) {
  const std::size_t count = ranks.workers.size();
  if (count == 1) return {};
  const auto share = [&](std::size_t rank) {
    const std::size_t begin = values.size() * rank / count, end = values.size() * (rank + 1) / count;
    return std::span(values).subspan(begin, end - begin);
  };
  const auto bytes_of = [](std::span<const T> part) {
    const auto bytes = std::as_bytes(part);
    return std::vector<std::byte>(bytes.begin(), bytes.end());
  };
  const std::span<T> own = share(ranks.own);
  std::vector<std::vector<T>> terms(count, std::vector<T>(own.size()));
  Label result = label;
  result.purpose = Purpose::summed;
  // A share may be empty: then nothing travels.
  const bool has_own = !own.empty();
  for (std::size_t rank = 0; rank < count; ++rank) {
    if (rank == ranks.own) continue;
    if (has_own) exchange.expect(ranks.workers[rank], label, std::as_writable_bytes(std::span(terms[rank])));
    if (!share(rank).empty()) SUANLI_RETURN_IF_ERROR(exchange.send(ranks.workers[rank], label, bytes_of(share(rank))));
  }
  std::ranges::copy(own, terms[ranks.own].begin());
  for (std::size_t rank = 0; rank < count; ++rank) {
    if (rank != ranks.own && has_own) SUANLI_RETURN_IF_ERROR(exchange.wait(ranks.workers[rank], label));
    for (std::size_t i = 0; i < own.size(); ++i) own[i] = rank == 0 ? terms[0][i] : combine(own[i], terms[rank][i]);
  }
  for (std::size_t rank = 0; rank < count; ++rank) {
    if (rank == ranks.own) continue;
    if (!share(rank).empty()) exchange.expect(ranks.workers[rank], result, std::as_writable_bytes(share(rank)));
    if (has_own) SUANLI_RETURN_IF_ERROR(exchange.send(ranks.workers[rank], result, bytes_of(own)));
  }
  for (std::size_t rank = 0; rank < count; ++rank)
    if (rank != ranks.own && !share(rank).empty()) SUANLI_RETURN_IF_ERROR(exchange.wait(ranks.workers[rank], result));
  return {};
}

}  // namespace suanli::pool
