// What a machine says of one step of a run, as text that can be sent to another: the line that `suanli digest RUN --step N
// --ops
// --json` prints (docs/formats/digests.md).
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

#include "suanli/proof/witness.h"

namespace suanli::proof {

struct Claims {
  std::string run;  // as the other machine calls it
  std::int64_t step = 0;
  Digest job;   // RunJob::digest_at(step)
  Digest root;  // of the state after the step
  std::optional<StepFigures> figures;
  std::vector<OpDigest> ops;  // of the step; empty: not stated
};

nlohmann::ordered_json json_of(const OpOutput& output);
nlohmann::ordered_json json_of(const OpDigest& digest);
// Reads the object; unknown fields are left alone. Errors: foreign (no JSON object of that kind), corrupt (names the field).
Result<Claims> parse_claims(std::string_view text, const std::string& place);

class ClaimWitness final : public Witness {
 public:
  ClaimWitness(Claims claims, std::string place) : claims_(std::move(claims)), place_(std::move(place)) {}
  std::string name() const override { return place_; }
  const Claims& claims() const { return claims_; }
  Result<std::vector<Digest>> roots(std::int64_t step) override;
  Result<std::optional<StepFigures>> figures(std::int64_t step) override;
  Result<std::vector<OpDigest>> ops(std::int64_t step) override;

 private:
  const Claims claims_;
  const std::string place_;
};

}  // namespace suanli::proof
