#include "suanli/engine/not_finite.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "suanli/base/text.h"

namespace suanli::engine {

std::optional<std::string> find_bad_element(Device& device, const std::byte* data,
                                            const graph::TensorType& type) {
  if (!graph::is_float(type.dtype)) return std::nullopt;
  std::vector<std::byte> host(static_cast<std::size_t>(type.bytes().value()));
  device.copy(device.compute(), host.data(), data, type.bytes());
  device.synchronize(device.compute());
  const std::size_t width = static_cast<std::size_t>(graph::size_of(type.dtype).value());
  for (std::size_t i = 0; i * width < host.size(); ++i) {
    std::uint32_t bits = 0;  // a bf16 is the upper half of a f32
    std::memcpy(reinterpret_cast<std::byte*>(&bits) + (4 - width), host.data() + i * width, width);
    const float value = std::bit_cast<float>(bits);
    if (!std::isfinite(value))
      return format("%g", static_cast<double>(value)) + " at element " + std::to_string(i) + " of " +
             type.to_string();
  }
  return std::nullopt;
}

std::string describe_call(const Program& program, const KernelCall& call, graph::Phase phase) {
  std::string text = call.spec.name + " in block " + std::to_string(call.block) + ", " +
                     std::string(graph::name_of(phase));
  for (ValueId id : call.inputs)
    if (program.values[id].place == Place::state) text += ", reading " + program.values[id].name;
  return text;
}

}  // namespace suanli::engine
