#include "suanli/engine/cpu/onednn.h"

#include <array>
#include <map>
#include <mutex>
#include <oneapi/dnnl/dnnl.hpp>

// GNU OpenMP, on which oneDNN is built; its header is not there for every compiler.
extern "C" void omp_set_num_threads(int);
extern "C" int omp_get_max_threads(void);

namespace suanli::engine {
namespace {

thread_local bool t_inside = false;

// Never destroyed: kernels in static objects may outlive it.
dnnl::engine& cpu_engine() {
  static dnnl::engine& engine = *new dnnl::engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

dnnl::memory::data_type dnnl_type(graph::DType dtype) {
  SUANLI_CHECK(dtype == graph::DType::f32 || dtype == graph::DType::bf16);
  return dtype == graph::DType::f32 ? dnnl::memory::data_type::f32 : dnnl::memory::data_type::bf16;
}

// What one thread needs to call oneDNN without allocating. A primitive takes its layouts from its
// own description and from a memory object only the address; so one set of memory objects serves
// all primitives. Their type is a single byte: with a padded layout oneDNN would write the padding
// each time an address is set, under other readers' eyes.
struct ThreadState {
  dnnl::stream stream{cpu_engine()};
  std::array<dnnl::memory, 4> memories;

  ThreadState() {
    const dnnl::memory::desc one_byte({1}, dnnl::memory::data_type::u8, dnnl::memory::dims{1});
    for (dnnl::memory& memory : memories)
      memory = dnnl::memory(one_byte, cpu_engine(), DNNL_MEMORY_NONE);
  }
};

ThreadState& thread_state() {
  thread_local ThreadState state;
  return state;
}

void execute(const dnnl::primitive& primitive, const dnnl_exec_arg_t* args, int count) {
  const dnnl_status_t status =
      dnnl_primitive_execute(primitive.get(), thread_state().stream.get(), count, args);
  SUANLI_CHECK(status == dnnl_success);
}

Error error_of(const TileGemmSpec& spec, const dnnl::error& error) {
  const std::string product = std::to_string(spec.m) + "x" + std::to_string(spec.n) + "x" +
                              std::to_string(spec.k) + " in " +
                              std::string(graph::name_of(spec.operands));
  if (error.status == dnnl_out_of_memory)
    return {ErrorCode::no_memory, "no memory to prepare a product of " + product, "oneDNN", ""};
  return {ErrorCode::unsupported,
          "no code on this machine for a product of " + product + ": " + error.what(), "oneDNN",
          spec.operands == graph::DType::bf16 ? "use f32 arithmetic" : ""};
}

}  // namespace

OneDnnScope::OneDnnScope() : outer_(t_inside) {
  t_inside = true;
  threads_ = omp_get_max_threads();
  if (threads_ != 1) omp_set_num_threads(1);
}

OneDnnScope::~OneDnnScope() {
  if (threads_ != 1) omp_set_num_threads(threads_);
  t_inside = outer_;
}

bool inside_onednn() { return t_inside; }

struct TileGemm::Impl {
  dnnl::matmul product;
  dnnl::reorder packing;      // empty unless B is packed
  dnnl::memory::desc packed;  // of B
  Bytes packed_size{};
  Bytes scratch{};
  std::string name;

  explicit Impl(const TileGemmSpec& spec);
};

// Throws dnnl::error.
TileGemm::Impl::Impl(const TileGemmSpec& spec) {
  using Desc = dnnl::memory::desc;
  using Dims = dnnl::memory::dims;
  const auto type = dnnl_type(spec.operands);
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (spec.accumulate) {
    dnnl::post_ops ops;
    ops.append_sum(1.0f);
    attributes.set_post_ops(ops);
  }
  const auto describe = [&](std::int64_t m, const Desc& b) {
    const Desc a(Dims{m, spec.k}, type, Dims{spec.a_row, spec.a_column});
    const Desc c(Dims{m, spec.n}, dnnl::memory::data_type::f32, Dims{spec.c_row, 1});
    return dnnl::matmul::primitive_desc(dnnl::matmul::desc(a, b, c), attributes, cpu_engine());
  };

  const Desc plain(Dims{spec.k, spec.n}, type, Dims{spec.b_row, spec.b_column});
  Desc layout = plain;
  if (spec.packed_for != 0) {
    const Desc any(Dims{spec.k, spec.n}, type, dnnl::memory::format_tag::any);
    layout = describe(spec.packed_for, any).weights_desc();
    packed = layout;
    packed_size = Bytes(static_cast<std::int64_t>(layout.get_size()));
    dnnl::primitive_attr copy;
    copy.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    const dnnl::reorder::primitive_desc reorder(cpu_engine(), plain, cpu_engine(), layout, copy);
    if (reorder.scratchpad_desc().get_size() != 0)
      throw dnnl::error(dnnl_unimplemented, "packing needs scratch");
    packing = dnnl::reorder(reorder);
  }
  const auto chosen = describe(spec.m, layout);
  product = dnnl::matmul(chosen);
  scratch = Bytes(static_cast<std::int64_t>(chosen.scratchpad_desc().get_size()));
  name = chosen.impl_info_str();
}

TileGemm::TileGemm(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
TileGemm::~TileGemm() = default;

Result<std::shared_ptr<const TileGemm>> TileGemm::make(const TileGemmSpec& spec) {
  SUANLI_CHECK(spec.m >= 1 && spec.n >= 1 && spec.k >= 1);
  // Weak: a product lives as long as some kernel uses it.
  static std::mutex mutex;
  static auto& made = *new std::map<TileGemmSpec, std::weak_ptr<const TileGemm>>;
  const std::lock_guard lock(mutex);
  if (const auto found = made.find(spec); found != made.end())
    if (std::shared_ptr<const TileGemm> gemm = found->second.lock()) return gemm;
  try {
    const OneDnnScope scope;
    const std::shared_ptr<const TileGemm> gemm(new TileGemm(std::make_unique<Impl>(spec)));
    std::erase_if(made, [](const auto& entry) { return entry.second.expired(); });
    made[spec] = gemm;
    return gemm;
  } catch (const dnnl::error& error) {
    return tl::unexpected(error_of(spec, error));
  }
}

Bytes TileGemm::scratch() const { return impl_->scratch; }
Bytes TileGemm::packed_size() const { return impl_->packed_size; }
const std::string& TileGemm::implementation() const { return impl_->name; }

void TileGemm::pack(const void* b, void* packed) const {
  SUANLI_CHECK(impl_->packing);
  const OneDnnScope scope;
  dnnl::memory& from = thread_state().memories[0];
  from.set_data_handle(const_cast<void*>(b));
  // With its true layout: the reorder leaves it to this object to clear the padding.
  const dnnl::memory to(impl_->packed, cpu_engine(), packed);
  const dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, from.get()}, {DNNL_ARG_TO, to.get()}};
  execute(impl_->packing, args, 2);
}

void TileGemm::run(const void* a, const void* b, float* c, void* scratch) const {
  const OneDnnScope scope;
  auto& memories = thread_state().memories;
  memories[0].set_data_handle(const_cast<void*>(a));
  memories[1].set_data_handle(const_cast<void*>(b));
  memories[2].set_data_handle(c);
  memories[3].set_data_handle(scratch);
  const dnnl_exec_arg_t args[] = {{DNNL_ARG_SRC, memories[0].get()},
                                  {DNNL_ARG_WEIGHTS, memories[1].get()},
                                  {DNNL_ARG_DST, memories[2].get()},
                                  {DNNL_ARG_SCRATCHPAD, memories[3].get()}};
  execute(impl_->product, args, 4);
}

}  // namespace suanli::engine
