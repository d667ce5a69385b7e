// The table of accelerators: what each could do at best, what was measured on it, what it costs. data/accelerators.toml is part
// of the library; a user's file of the same form adds devices or replaces them. Each figure has its source.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "suanli/base/error.h"
#include "suanli/base/units.h"

namespace suanli::plan {

// A figure of the table. Not known: an empty optional around it.
template <typename Unit>
struct Sourced {
  Unit value;
  std::string source;
};

struct Price {
  Dollars low, high;
  int year = 0;
  std::string kind;  // "used", "new", "list"
  std::string source;
};

struct Accelerator {
  std::string name;                  // "H100-SXM-80GB"
  std::vector<std::string> aliases;  // "H100"
  // Dense peaks by dtype: "tf32", "fp16", "bf16", "fp8". Never the sparse figure that data sheets print larger.
  std::map<std::string, Sourced<FlopsPerSecond>, std::less<>> dense_peak;
  std::optional<Sourced<FlopsPerSecond>> sparse_bf16_peak;  // to recognise it when someone enters it
  std::optional<Sourced<FlopsPerSecond>> measured_matmul;   // bf16, the best a large product reaches
  std::optional<Sourced<Bytes>> memory;
  std::optional<Sourced<BytesPerSecond>> bandwidth;         // of its memory
  std::optional<Sourced<Watts>> power;                      // thermal design power, of the device alone
  std::optional<Price> price;
  int per_node = 8;                                         // devices in one machine, as usually built
  std::optional<Sourced<BytesPerSecond>> node_link;         // inside a machine: per device and direction
  std::optional<Sourced<BytesPerSecond>> cluster_link;      // between machines: per device and direction, as usually built
};

class AcceleratorTable {
 public:
  // The table of the library.
  static AcceleratorTable built_in();
  // Adds what `text` defines; a device of the same name is replaced as a whole. `place` names it in errors (config: line, key,
  // value; a device without a source or without any peak is refused).
  [[nodiscard]] Status add(std::string_view text, const std::string& place);

  const std::vector<Accelerator>& all() const { return devices_; }
  // By name or alias, whatever the case. Error usage with the nearest names.
  Result<Accelerator> find(std::string_view name) const;

 private:
  std::vector<Accelerator> devices_;
};

}  // namespace suanli::plan
