#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "suanli/data/jsonl.h"

using namespace suanli;
using namespace suanli::data;

namespace {

// Gives the bytes in pieces, so that lines lie across them.
class PiecesSource final : public ByteSource {
 public:
  explicit PiecesSource(std::string_view bytes) : bytes_(bytes) {}
  Result<std::size_t> read(std::span<std::byte> out) override {
    const std::size_t count = std::min({std::size_t{7}, out.size(), bytes_.size() - at_});
    std::memcpy(out.data(), bytes_.data() + at_, count);
    at_ += count;
    return count;
  }
  std::uint64_t consumed() const override { return at_; }

 private:
  std::string_view bytes_;
  std::size_t at_ = 0;
};

}  // namespace

std::vector<std::string> suanli_fuzz_seeds() {
  return {"{\"text\": \"a\"}\n",
          "{\"id\":1,\"text\":\"\\u00e9\\n\\ud83d\\ude00\",\"more\":[1,2,{\"x\":null}]}\r\n\n{"
          "\"text\":\"\"}",
          "[1]\n", "\xEF\xBB\xBF{\"text\":\"b\"}"};
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  PiecesSource source({reinterpret_cast<const char*>(data), size});
  LineReader lines(source, "fuzz");
  JsonLineParser parser("text");
  std::size_t bytes = 0;
  for (Result<bool> more = lines.next(); more && *more; more = lines.next()) {
    bytes += lines.line().size();
    const auto text = parser.text(lines.line());
    // Escapes are longer than what they stand for.
    if (text) SUANLI_CHECK(text->size() <= lines.line().size());
  }
  SUANLI_CHECK(bytes <= size);
  return 0;
}
