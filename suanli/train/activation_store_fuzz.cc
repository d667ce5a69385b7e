#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/train/activation_store.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace suanli;
  const ByteSpan file(reinterpret_cast<const std::byte*>(data), size);
  const auto saved = train::parse_activations(file, "saved");
  if (!saved) {
    SUANLI_CHECK(saved.error().place == "saved");
    return 0;
  }
  std::size_t bytes = 96;
  for (std::size_t i = 0; i < saved->entries.size(); ++i) {
    const auto& entry = saved->entries[i];
    bytes += 72 + entry.data.size();
    SUANLI_CHECK(i == 0 || saved->entries[i - 1].key < entry.key);
    SUANLI_CHECK(entry.last_use < saved->uses && sha256(entry.data) == entry.mark.digest);
  }
  SUANLI_CHECK(bytes == size);
  return 0;
}

std::vector<std::string> suanli_fuzz_seeds() {
  using namespace suanli;
  std::string folder = (std::filesystem::temp_directory_path() / "suanli-fuzz-XXXXXX").string();
  SUANLI_CHECK(mkdtemp(folder.data()) != nullptr);
  std::vector<std::string> seeds;
  for (const std::int64_t entries : {0, 1, 3}) {
    auto store = train::ActivationStore::create({});
    SUANLI_CHECK(store.has_value());
    for (std::int64_t i = 0; i < entries; ++i) {
      const std::string buffer(static_cast<std::size_t>(i * 9), 'a');
      SUANLI_CHECK(store->put({static_cast<std::int32_t>(i % 2), i}, 4, as_bytes(buffer)).has_value());
    }
    SUANLI_CHECK(store->save(folder + "/saved").has_value());
    seeds.push_back(*read_file(folder + "/saved"));
  }
  std::filesystem::remove_all(folder);
  return seeds;
}
