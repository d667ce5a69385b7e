// From a manifest and the bytes of a data file to verified tensors. Knows nothing of where the
// bytes lie.
#pragma once

#include <functional>
#include <string_view>

#include "suanli/checkpoint/manifest.h"
#include "suanli/checkpoint/snapshot.h"

namespace suanli::checkpoint {

// Checks that `data` is the data file which the manifest describes: size, header, names and types;
// and, of the selected tensors only, every byte. Damage is an error that names `place` (the data
// file), the tensor and the value.
[[nodiscard]] Status verify(const Manifest& manifest, ByteSpan data, std::string_view place,
                            const TensorFilter& filter);

// The same, and copies the selected tensors out, in the manifest's order.
[[nodiscard]] Result<Snapshot> restore(const Manifest& manifest, ByteSpan data,
                                       std::string_view place, const TensorFilter& filter);

}  // namespace suanli::checkpoint
