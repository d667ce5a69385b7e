#include <cstdint>
#include <string>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/proof/claims.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace suanli;
  const auto claims = proof::parse_claims({reinterpret_cast<const char*>(data), size}, "claims.json");
  if (!claims) {
    SUANLI_CHECK(claims.error().place == "claims.json" && !claims.error().next_step.empty());
    return 0;
  }
  // What was read can be written, and is read again as the same.
  nlohmann::ordered_json again = {
      {"run", claims->run}, {"step", claims->step}, {"job", claims->job.hex()}, {"root", claims->root.hex()}};
  again["ops"] = nlohmann::ordered_json::array();
  for (const proof::OpDigest& op : claims->ops) again["ops"].push_back(proof::json_of(op));
  const auto reread =
      proof::parse_claims(again.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace), "claims.json");
  SUANLI_CHECK(reread && reread->ops.size() == claims->ops.size());
  for (const proof::OpDigest& op : claims->ops)
    SUANLI_CHECK(static_cast<std::int64_t>(op.leaves.size()) ==
                 (op.output.type.elements() + proof::kLeafElements - 1) / proof::kLeafElements);
  return 0;
}

std::vector<std::string> suanli_fuzz_seeds() {
  using namespace suanli;
  proof::OpDigest op;
  op.output.op = "matmul";
  op.output.node = 7;
  op.output.micro_batch = 1;
  op.output.type = graph::f32({40, 30});
  op.leaves = {sha256("a"), sha256("b")};
  nlohmann::ordered_json object = {{"run", "runs/a"},           {"step", 7},   {"job", sha256("j").hex()},
                                   {"root", sha256("c").hex()}, {"loss", 2.5}, {"grad_norm", 0.5}};
  const std::string plain = object.dump();
  object["ops"] = {proof::json_of(op)};
  return {plain, object.dump()};
}
