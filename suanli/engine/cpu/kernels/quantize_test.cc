// The codecs' kernels against the plain definitions, byte by byte: on every instruction set, at every number of threads, for all
// widths and transforms, for numbers of all kinds; and as programs of the engine, the two ends on different machines.
#include <gtest/gtest.h>

#include "suanli/base/sha256.h"
#include "suanli/engine/cpu/exact/every_target_test_util.h"
#include "suanli/engine/cpu/exact/exact_test_util.h"
#include "suanli/engine/cpu/op_test_util.h"
#include "suanli/engine/engine_test_support.h"
#include "suanli/graph/codec.h"

namespace suanli::engine {
namespace {

using graph::Attrs;
using graph::DType;
using graph::f32;
using graph::RefTensor;
using graph::Shape;
using graph::TensorType;

// Of all bytes that Codecs.AreAsDefined sees. Another digest is another format: docs/formats/codecs.md.
constexpr const char* kGolden = "3b57ead1c0e15abd532c4e869e70fbc644275a65fc34f4c97a90f6dc85495309";

struct Made {
  KernelSpec spec;
  std::vector<RefTensor> inputs;
  std::vector<TestBytes> bytes;
};

Made make(const std::string& name, const Attrs& attrs, std::vector<RefTensor> inputs) {
  Made made{.spec = {.name = name, .inputs = {}, .outputs = {}, .attrs = attrs}, .inputs = std::move(inputs), .bytes = {}};
  for (const RefTensor& tensor : made.inputs) {
    made.spec.inputs.push_back(tensor.type);
    made.bytes.push_back(encode(tensor));
  }
  const auto type = graph::op(name).infer(made.spec.inputs, attrs);
  EXPECT_TRUE(type) << type.error().to_string();
  if (type) made.spec.outputs = {*type};
  return made;
}

// What the definition gives, in the element type of the output, not a number always by the same bits.
TestBytes defined(const Made& made) {
  RefTensor out{made.spec.outputs[0], reference_of(made.spec, made.inputs)};
  for (double& x : out.data)
    if (std::isnan(x)) x = std::numeric_limits<double>::quiet_NaN();
  return encode(out);
}

// The rows of nasty_rows: subnormals, ties, spikes, infinities, NaN and all else.
RefTensor nasty(std::int64_t rows, std::int64_t columns, std::uint64_t seed) {
  const std::vector<float> x = exact::nasty_rows(rows, columns, seed);
  return {f32({rows, columns}), {x.begin(), x.end()}};
}

RefTensor random_bytes(std::int64_t n, std::uint64_t seed) {
  return random_ref({DType::u8, {n}}, 0, 256, seed);
}

std::vector<Attrs> all_attrs() {
  std::vector<Attrs> all;
  for (const std::int64_t bits : {2, 3, 4, 6, 8})
    for (const std::int64_t tile : {8, 64, 128, 200, 1024})
      for (const char* transform : {"none", "hadamard"})
        all.push_back({{"bits", bits}, {"tile", tile}, {"transform", std::string(transform)}});
  return all;
}

Attrs with(Attrs attrs, const std::string& name, graph::AttrValue value) {
  attrs.set(name, std::move(value));
  return attrs;
}

TEST(Codecs, AreAsDefined) {
  Sha256 digest;
  const auto hold = [&](const Made& made) {
    const TestBytes expected = defined(made);
    digest.update(expected);
    const auto kernel = kernel_for(made.spec);
    ASSERT_NE(kernel, nullptr);
    on_every_target([&](const std::string& target) {
      ASSERT_EQ(run_op(*kernel, made.spec, made.bytes, {.threads = 2})[0], expected)
          << made.spec.name << " " << made.spec.inputs[0].to_string() << " " << made.spec.attrs.integer("bits") << " bits, tile "
          << made.spec.attrs.integer("tile") << " " << made.spec.attrs.word("transform") << " on " << target;
    });
  };
  const RefTensor key{graph::i32({4}), {1, -2, 3, -2147483648.0}};
  std::uint64_t seed = 1;
  for (const Attrs& attrs : all_attrs())
    for (const Shape& shape : {Shape{16, 64}, Shape{32, 203}, Shape{1, 2049}, Shape{5, 1}}) {
      const RefTensor x = nasty(shape[0], shape[1], ++seed), m = nasty(shape[0], shape[1], ++seed);
      hold(make("quantize_tiles", attrs, {x}));
      hold(make("quantize_delta", attrs, {x, m}));
      hold(make("quantize_tiles_stochastic", with(attrs, "stream", std::int64_t{7}), {x, key}));
      const Made packed = make("quantize_tiles", attrs, {x});
      const std::int64_t bytes = packed.spec.outputs[0].elements();
      const RefTensor sent{packed.spec.outputs[0], reference_of(packed.spec, packed.inputs)};
      for (const RefTensor& arrived : {sent, random_bytes(bytes, ++seed)}) {
        hold(make("dequantize_tiles", with(attrs, "shape", shape), {arrived}));
        if (HasFatalFailure()) return;
      }
      // Of NaN and infinite operands the reference's sums in float64 say nothing of f32's; numbers of size 1 do.
      const Made sums = make("dequantize_add", attrs, {sent, random_ref(f32(shape), -1, 1, ++seed)});
      const auto kernel = kernel_for(sums.spec);
      const std::vector<TestBytes> one = run_op(*kernel, sums.spec, sums.bytes);
      expect_near(decode(DType::f32, one[0]), reference_of(sums.spec, sums.inputs), 1e-6, "dequantize_add");
      on_every_target([&](const std::string& target) {
        EXPECT_EQ(run_op(*kernel, sums.spec, sums.bytes, {.threads = 3}), one) << target;
        EXPECT_EQ(run_op(*kernel, sums.spec, sums.bytes, {.threads = 2, .in_place = {{1, 0}}}), one) << target;
      });
      digest.update(one[0]);
    }
  EXPECT_EQ(digest.finish().hex(), kGolden);
}

// Many tasks, so that threads share them.
TEST(Codecs, AreTheSameAtAnyNumberOfThreads) {
  const RefTensor x = random_ref(f32({300, 1111}), -1, 1, 5), key = random_ref(graph::i32({4}), 0, 1e9, 6);
  for (const Attrs& attrs : all_attrs()) {
    const Made made = make("quantize_tiles_stochastic", with(attrs, "stream", std::int64_t{0}), {x, key});
    const auto kernel = kernel_for(made.spec);
    const auto one = run_op(*kernel, made.spec, made.bytes);
    for (const int threads : {2, 3, 4}) EXPECT_EQ(run_op(*kernel, made.spec, made.bytes, {.threads = threads}), one);
    KernelSpec back{.name = "dequantize_tiles", .inputs = made.spec.outputs, .outputs = {x.type}, .attrs = attrs};
    const auto decoder = kernel_for(back);
    const auto values = run_op(*decoder, back, one);
    for (const int threads : {2, 4}) EXPECT_EQ(run_op(*decoder, back, one, {.threads = threads}), values);
  }
}

TEST(TopK, IsAsDefinedForNumbersOfAllKinds) {
  for (const std::int64_t k : {0, 1, 5, 1000, 4095, 4096}) {
    const Made made = make("top_k_pack", {{"k", k}}, {nasty(64, 64, 3)});
    const auto packed = run_op(*kernel_for(made.spec), made.spec, made.bytes, {.threads = 2});
    // A NaN's bits may not pass through the reference's float64: sizes and places say all.
    const TestBytes expected = defined(made);
    EXPECT_TRUE(std::equal(expected.begin(), expected.begin() + 4 * k, packed[0].begin())) << k;
    const auto values = values_of<std::uint32_t>(packed[0]), x = values_of<std::uint32_t>(made.bytes[0]);
    for (std::int64_t i = 0; i < k; ++i)
      EXPECT_EQ(values[static_cast<std::size_t>(k + i)], x[values[static_cast<std::size_t>(i)]]);
  }
}

TEST(TopK, CountsExactlyOverManyBlocks) {
  std::vector<RefTensor> tensors = {random_ref(f32({300'001}), -1, 1, 5), {f32({300'001}), std::vector<double>(300'001, -2.0)}};
  tensors.push_back(tensors[1]);
  for (std::size_t i = 0; i < tensors[2].data.size(); i += 3) tensors[2].data[i] = 0;
  // Where a sample misleads: all large elements together, and far more of one size than are wanted.
  tensors.push_back(tensors[0]);
  for (std::size_t i = 0; i < 5'000; ++i) tensors[3].data[100'000 + i] *= 64;
  tensors.push_back(random_ref(f32({600, 1000}), -1, 1, 6));
  tensors.push_back({f32({600'000}), std::vector<double>(600'000, 0.0)});
  for (std::size_t i = 0; i < 600'000; i += 1000) tensors[5].data[i] = 1;
  for (const RefTensor& x : tensors)
    for (const std::int64_t k : {1, 4'000, 200'000}) {
      const Made made = make("top_k_pack", {{"k", k}}, {x});
      const auto kernel = kernel_for(made.spec);
      const auto one = run_op(*kernel, made.spec, made.bytes);
      EXPECT_EQ(one[0], defined(made)) << k;
      int threads = 1;
      on_every_target([&](const std::string& target) {
        EXPECT_EQ(run_op(*kernel, made.spec, made.bytes, {.threads = ++threads}), one) << target << ", " << threads << " threads";
      });
      const Made back = make("top_k_unpack", {{"shape", x.type.shape}}, {{made.spec.outputs[0], decode(DType::u8, one[0])}});
      EXPECT_EQ(run_op(*kernel_for(back.spec), back.spec, back.bytes, {.threads = 3})[0], defined(back));
    }
}

TEST(TopK, PlacesThatAreNoneMakeEverythingNan) {
  const auto unpacked = [](std::vector<std::uint32_t> places) {
    const auto k = static_cast<std::int64_t>(places.size());
    for (std::int64_t i = 0; i < k; ++i) places.push_back(0x3F800000);
    const KernelSpec spec{
        .name = "top_k_unpack", .inputs = {{DType::u8, {8 * k}}}, .outputs = {f32({10})}, .attrs = {{"shape", Shape{10}}}};
    return values_of<float>(run_op(*kernel_for(spec), spec, {bytes_of(places)}, {.threads = 2})[0]);
  };
  EXPECT_EQ(unpacked({3, 9})[9], 1.0F);
  EXPECT_EQ(unpacked({3, 9})[4], 0.0F);
  for (const auto& places : std::vector<std::vector<std::uint32_t>>{{3, 10}, {9, 3}, {3, 3}, {0xFFFFFFFF}, {0, 0x80000000}})
    for (const float x : unpacked(places)) EXPECT_TRUE(std::isnan(x));
}

// One end of a link as a program of the engine.
struct End {
  graph::Graph graph;
  test::Bench bench;

  void start(Arithmetic arithmetic, int threads) {
    Target target;
    target.arithmetic = arithmetic;
    Result<test::Bench> made = test::Bench::make(graph, target, threads);
    ASSERT_TRUE(made) << made.error().to_string();
    bench = std::move(*made);
  }
  TestBytes run(const std::vector<std::pair<std::string, TestBytes>>& inputs, const std::string& output) {
    std::vector<HostTensor> tensors;
    for (const auto& [name, bytes] : inputs)
      tensors.push_back({name, bytes.data(), Bytes(static_cast<std::int64_t>(bytes.size()))});
    bench.executor->begin_step();
    const Status status = bench.executor->forward(0, tensors);
    EXPECT_TRUE(status) << status.error().to_string();
    return read(output);
  }
  TestBytes read(const std::string& output) {
    TestBytes bytes(static_cast<std::size_t>(graph.node(graph.find_output(output)).type.bytes().value()));
    EXPECT_TRUE(bench.executor->read(output, bytes));
    return bytes;
  }
};

// quantize_delta and dequantize_add are what the ops they stand for give one by one, to the last bit, for numbers of all kinds.
TEST(Codecs, FusedOpsHaveTheBitsOfTheirParts) {
  const RefTensor a = nasty(32, 203, 1), m = nasty(32, 203, 2), mild = random_ref(a.type, -1, 1, 3);
  for (const Arithmetic arithmetic : {Arithmetic::f32, Arithmetic::exact})
    for (const std::int64_t bits : {2, 3, 4, 6, 8}) {
      End end;
      graph::Builder b(end.graph);
      const Attrs attrs = {{"bits", bits}, {"tile", 64}};
      const auto x = b.input("a", a.type), buffer = b.input("m", a.type), kept = b.input("kept", a.type);
      const auto packed = b.apply("quantize_delta", {x, buffer}, attrs);
      const auto difference = b.sub(x, buffer);
      const auto values = b.apply("dequantize_tiles", {packed}, with(attrs, "shape", a.type.shape));
      ASSERT_TRUE(end.graph.add_output("packed", packed));
      ASSERT_TRUE(end.graph.add_output("packed_by_parts", b.apply("quantize_tiles", {difference}, attrs)));
      ASSERT_TRUE(end.graph.add_output("next", b.apply("dequantize_add", {packed, kept}, attrs)));
      ASSERT_TRUE(end.graph.add_output("next_by_parts", b.add(kept, values)));
      ASSERT_TRUE(b.status());
      end.start(arithmetic, 2);
      const TestBytes one = end.run({{"a", encode(a)}, {"m", encode(m)}, {"kept", encode(mild)}}, "packed");
      EXPECT_EQ(one, end.read("packed_by_parts")) << bits;
      EXPECT_EQ(end.read("next"), end.read("next_by_parts")) << bits;
    }
}

// The sender has all instruction sets and three threads, the receiver one thread and no vectors: their buffers stay the same.
TEST(Codecs, BothEndsStayEqualOnUnlikeMachines) {
  const TensorType type = f32({24, 300});
  for (const Arithmetic arithmetic : {Arithmetic::f32, Arithmetic::bf16, Arithmetic::exact})
    for (const auto transform : {graph::Codec::Transform::none, graph::Codec::Transform::hadamard}) {
      const graph::Codec codec{.kind = graph::Codec::Kind::delta, .bits = 3, .tile = 64, .transform = transform};
      End sender, receiver;
      graph::Builder s(sender.graph), r(receiver.graph);
      const graph::Sent sent = graph::send(s, codec, s.input("a", type), {.buffer = s.input("m", type)});
      const auto arriving = r.input("packed", graph::wire_type(codec, type));
      const graph::Received received = graph::receive(r, codec, arriving, type, r.input("m", type));
      // Views and readers of the values behind, as a stage has them.
      ASSERT_TRUE(sender.graph.add_output("packed", sent.packed));
      ASSERT_TRUE(sender.graph.add_output("next", sent.next));
      ASSERT_TRUE(receiver.graph.add_output("next", received.next));
      ASSERT_TRUE(receiver.graph.add_output("y", r.gelu(received.value)));
      ASSERT_TRUE(s.status() && r.status());
      sender.start(arithmetic, 3);
      receiver.start(arithmetic, 1);
      TestBytes near(static_cast<std::size_t>(type.bytes().value())), far = near;
      for (std::uint64_t visit = 0; visit < 12; ++visit) {
        const TestBytes a = encode(random_ref(type, -1, 1, visit / 4));
        const TestBytes packed = sender.run({{"a", a}, {"m", near}}, "packed");
        near = sender.read("next");
        exact::set_isa_limit(exact::Isa::scalar);
        far = receiver.run({{"packed", packed}, {"m", far}}, "next");
        exact::clear_isa_limit();
        ASSERT_EQ(near, far) << "visit " << visit;
      }
      const auto a = values_of<float>(encode(random_ref(type, -1, 1, 2))), m = values_of<float>(near);
      for (std::size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(m[i], a[i], 0.03);
    }
}

}  // namespace
}  // namespace suanli::engine
