// Requests for tensors and refusals, of any bytes.
#include <cstdint>
#include <string>
#include <vector>

#include "suanli/pool/tensor_desk.h"

using namespace suanli;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto request = pool::parse_tensor_request(text, "input")) {
    const auto again = pool::parse_tensor_request(pool::encode(*request), "input");
    SUANLI_CHECK(again && again->names == request->names && again->number == request->number);
  } else {
    SUANLI_CHECK(request.error().code == ErrorCode::protocol && request.error().place == "input");
  }
  if (const auto refusal = pool::parse_tensor_refusal(text, "input"))
    SUANLI_CHECK(pool::parse_tensor_refusal(pool::encode(*refusal), "input").has_value());
  return 0;
}

std::vector<std::string> suanli_fuzz_seeds() {
  pool::TensorRequest request;
  request.job = "job-1";
  request.epoch = 3;
  request.number = 7;
  request.step = 100;
  request.names = {"wte.weight", "exact/exponents/0"};
  return {pool::encode(request), pool::encode(pool::TensorRefusal{7, {ErrorCode::not_found, "gone", "job-1", "ask again"}})};
}
