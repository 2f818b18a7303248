// Saves by 1 to 4 ranks: what any other number of ranks loads is the same; damage is named and survived.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <sys/mount.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>

#include "base/error.hpp"
#include "base/publish.hpp"
#include "checkpoint/checkpoint.hpp"
#include "checkpoint/weights.hpp"
#include "comm/torch_dtype.hpp"
#include "support/ranks_world.hpp"

namespace osler::checkpoint {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using tests::world;

struct Spec {
  std::string name;
  DType dtype;
  std::vector<std::int64_t> shape;
};

// Odd sizes on purpose: no count of ranks divides them all.
const std::vector<Spec> kSpecs = {{"optim/master/model.embed_tokens.weight", DType::fp32, {37, 12}},
                                  {"optim/master/model.layers.0.mlp.gate_proj.weight", DType::fp32, {7, 5, 11}},
                                  {"optim/exp_avg/model.layers.0.mlp.gate_proj.weight", DType::fp32, {7, 5, 11}},
                                  {"optim/master/model.norm.weight", DType::fp32, {13}},
                                  {"model/half", DType::bf16, {64, 3}},
                                  {"model/scalar", DType::fp64, {}},
                                  {"model/empty", DType::fp32, {0, 4}}};

/// Element i of tensor t at a step: a value that no other has.
at::Tensor whole(std::size_t t, std::int64_t step) {
  const Spec& spec = kSpecs[t];
  const auto count = plan::num_elements(spec.shape);
  const at::Tensor values =
      at::arange(count, at::kDouble) * 0.37 + static_cast<double>(t) * 1000.0 + static_cast<double>(step);
  return values.view(spec.shape).to(comm::scalar_type_of(spec.dtype));
}

std::vector<plan::Piece> pieces_for(std::size_t t, int rank, int size) {
  const Spec& spec = kSpecs[t];
  const auto range = plan::split_range(plan::num_elements(spec.shape), size, rank);
  return plan::pieces_of_flat_range(spec.name, spec.dtype, spec.shape, range.begin, range.end);
}

at::Tensor slice(at::Tensor tensor, const plan::Piece& piece) {
  for (std::size_t dim = 0; dim < piece.extent.size(); ++dim)
    tensor = tensor.narrow(static_cast<std::int64_t>(dim), piece.offset[dim], piece.extent[dim]);
  return tensor.contiguous();
}

std::vector<comm::ShardedTensor> tensors_for(int rank, int size, std::int64_t step) {
  std::vector<comm::ShardedTensor> tensors;
  for (std::size_t t = 0; t < kSpecs.size(); ++t)
    for (const plan::Piece& piece : pieces_for(t, rank, size)) tensors.push_back({piece, slice(whole(t, step), piece)});
  return tensors;
}

class SaveLoad : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string folder =
        (fs::temp_directory_path() / ("osler_ranks_checkpoint_" + std::to_string(::getpid()))).string();
    folder_ = group().broadcast_bytes(folder, 0);
    if (leads()) fs::remove_all(folder_);
    if (leads()) make_directories(folder_);
    group().barrier();
  }
  void TearDown() override {
    group().barrier();
    if (leads()) fs::remove_all(folder_);
  }
  static comm::Group& group() { return world().host(); }
  static bool leads() { return group().rank() == 0; }
  std::string root() const { return folder_ + "/run/checkpoints"; }

  SaveRequest request(std::int64_t step, std::int64_t keep = 2) const {
    SaveRequest request{.root = root(), .tensors = tensors_for(group().rank(), group().size(), step), .keep = keep};
    request.state.step = step;
    request.state.tokens = step * 4096;
    request.state.provenance = {step * 4096, 12, 2.5};
    request.state.seed = 0xffffffffffffffffULL;
    request.state.ledger["clinical"] = {100, 10, 1};
    request.state.counters["skipped"] = -3;
    request.state.model_config = "{\"a\": \"\\u00fc\"}";
    request.state.run_config = std::string("path = \xff\n");  // no UTF-8: must not fail a save
    request.state.dtype = "bf16";
    return request;
  }
  void on_lead(const std::function<void()>& work) {
    group().barrier();
    if (leads()) work();
    group().barrier();
  }
  std::string step_dir(std::int64_t step) const {
    std::string digits = std::to_string(step);
    return root() + "/step_" + std::string(9 - digits.size(), '0') + digits;
  }
  static void expect_equal_to_step(const std::string& directory, std::int64_t step) {
    const Reader reader(directory);
    EXPECT_EQ(reader.state().step, step);
    for (int size = 1; size <= 4; ++size) {  // every count of loading ranks, played by each rank
      for (int rank = 0; rank < size; ++rank) {
        std::vector<comm::ShardedTensor> wanted = tensors_for(rank, size, step);
        std::vector<comm::ShardedTensor> got = wanted;
        for (auto& tensor : got) tensor.data = at::full_like(tensor.data, -1);
        reader.load(got);
        for (std::size_t i = 0; i < got.size(); ++i)
          ASSERT_TRUE(at::equal(got[i].data, wanted[i].data))
              << got[i].piece.name << " rank " << rank << " of " << size;
      }
    }
  }
  static void flip_byte(const std::string& path, std::uint64_t at) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(at));
    const char byte = static_cast<char>(file.get() ^ 0x10);
    file.seekp(static_cast<std::streamoff>(at));
    file.put(byte);
  }
  std::string folder_;
};

TEST_F(SaveLoad, EveryCountOfRanksLoadsTheSame) {
  EXPECT_FALSE(find_newest(group(), root()).has_value());
  EXPECT_EQ(save(group(), request(7)), step_dir(7));
  const auto newest = find_newest(group(), root());
  ASSERT_TRUE(newest);
  EXPECT_EQ(*newest, step_dir(7));
  expect_equal_to_step(*newest, 7);
  const RunState state = Reader(*newest).state();
  EXPECT_EQ(state.tokens, 7 * 4096);
  EXPECT_EQ(state.seed, 0xffffffffffffffffULL);
  EXPECT_EQ(state.ledger.at("clinical").sequences, 10);
  EXPECT_EQ(state.counters.at("skipped"), -3);
  EXPECT_EQ(state.model_config, "{\"a\": \"\\u00fc\"}");
  EXPECT_NO_THROW(verify(group(), *newest));
}

TEST_F(SaveLoad, ConvertsWhileLoadingAndFallsBackToMasters) {
  save(group(), request(1));
  const Weights weights(folder_ + "/run");
  const plan::Piece piece{"model/model.embed_tokens.weight", DType::bf16, {37, 12}, {3, 2}, {20, 7}};
  const comm::ShardedTensor target{piece, at::zeros({20, 7}, at::kBFloat16)};
  weights.load({target});
  EXPECT_TRUE(at::equal(target.data, slice(whole(0, 1), piece).to(at::kBFloat16)));
  EXPECT_EQ(weights.provenance(), (Provenance{4096, 12, 2.5}));
  for (const plan::Piece& tensor : weights.tensors())
    EXPECT_EQ(tensor.dtype, tensor.name == "model/scalar"  ? DType::fp64
                            : tensor.name == "model/empty" ? DType::fp32
                                                           : DType::bf16)
        << tensor.name;
  const comm::ShardedTensor absent{{"model/absent", DType::fp32, {2}, {0}, {2}}, at::zeros({2})};
  EXPECT_THROW(weights.load({absent}), CheckpointError);
  const comm::ShardedTensor other_shape{{"model/half", DType::bf16, {3, 64}, {0, 0}, {3, 64}},
                                        at::zeros({3, 64}, at::kBFloat16)};
  EXPECT_THROW(weights.load({other_shape}), DataError);
}

TEST_F(SaveLoad, KeepsTheNewestAndReplacesTheSameStep) {
  for (const std::int64_t step : {1, 2, 3, 4, 4}) save(group(), request(step));
  EXPECT_FALSE(fs::exists(step_dir(2)));
  expect_equal_to_step(step_dir(3), 3);
  expect_equal_to_step(step_dir(4), 4);
  group().barrier();
  std::size_t entries = 0;
  for (const auto& entry : fs::directory_iterator(root())) entries += entry.exists() ? 1 : 0;
  EXPECT_EQ(entries, 2U);
  save(group(), request(5, 0));
  EXPECT_TRUE(fs::exists(step_dir(3)));
}

TEST_F(SaveLoad, SurvivesWhatAKillLeaves) {
  save(group(), request(1));
  save(group(), request(2));
  on_lead([&] {  // a save cut off before its manifest, and a deletion cut off after it
    fs::create_directories(root() + "/.tmp-step_000000003-1234");
    std::ofstream(root() + "/.tmp-step_000000003-1234/rank_00000.h5") << "half";
    fs::create_directories(step_dir(3));
    std::ofstream(step_dir(3) + "/rank_00000.h5") << "half";
  });
  EXPECT_EQ(find_newest(group(), root()), step_dir(2));
  save(group(), request(3));
  expect_equal_to_step(step_dir(3), 3);
  group().barrier();
  EXPECT_FALSE(fs::exists(root() + "/.tmp-step_000000003-1234"));
}

TEST_F(SaveLoad, NamesDamageSetsItAsideAndFallsBack) {
  struct Case {
    const char* what;
    std::function<void(const std::string&)> damage;
    const char* named;
  };
  const std::vector<Case> cases = {
      {"flip in data",
       [](const std::string& d) { flip_byte(d + "/rank_00000.h5", fs::file_size(d + "/rank_00000.h5") - 200); },
       "rank_00000.h5"},
      {"flip in the manifest", [](const std::string& d) { flip_byte(d + "/manifest.json", 400); }, "manifest.json"},
      {"truncated", [](const std::string& d) { fs::resize_file(d + "/rank_00000.h5", 100); }, "rank_00000.h5"},
      {"deleted", [](const std::string& d) { fs::remove(d + "/index.h5"); }, "index.h5"},
      {"flip in the index", [](const std::string& d) { flip_byte(d + "/index.h5", 600); }, "index.h5"}};
  std::int64_t step = 10;
  save(group(), request(step, 0));
  for (const Case& c : cases) {
    SCOPED_TRACE(c.what);
    save(group(), request(step + 1, 0));
    on_lead([&] { c.damage(step_dir(step + 1)); });
    try {
      verify(group(), step_dir(step + 1));
      ADD_FAILURE() << "not noticed";
    } catch (const CheckpointError& error) {
      EXPECT_THAT(error.what(), HasSubstr(c.named));
    }
    EXPECT_EQ(find_newest(group(), root()), step_dir(step));
    group().barrier();
    EXPECT_FALSE(fs::exists(step_dir(step + 1)));
    expect_equal_to_step(step_dir(step), step);
    group().barrier();
  }
  on_lead([&] { fs::remove(step_dir(step) + "/manifest.json"); });
  EXPECT_THROW(find_newest(group(), root()), CheckpointError);  // there were some: never start over in silence
}

TEST_F(SaveLoad, PiecesMustTileEveryTensor) {
  SaveRequest twice = request(1);
  if (leads()) twice.tensors.push_back(twice.tensors.front());
  EXPECT_THROW(save(group(), twice), InternalError);
  SaveRequest incomplete = request(1);
  if (leads()) {
    incomplete.tensors.front().piece.global_shape[0] += 1;  // rank 0 alone thinks that there is more
    if (group().size() > 1)
      incomplete.tensors.front().piece.global_shape[0] -= 1, incomplete.tensors.erase(incomplete.tensors.begin());
  }
  EXPECT_THROW(save(group(), incomplete), InternalError);
  group().barrier();
  EXPECT_TRUE(fs::is_empty(root()));
}

TEST_F(SaveLoad, AFullDiskLeavesTheLastCheckpointAlone) {
  std::int64_t mounted = 0;
  const std::string small = folder_ + "/small";
  if (leads()) {
    make_directories(small);
    mounted = ::mount("tmpfs", small.c_str(), "tmpfs", 0, "size=96k") == 0 ? 1 : 0;
  }
  mounted = group().all_reduce_value(mounted, comm::ReduceOp::max);
  if (mounted == 0) GTEST_SKIP() << "no right to mount a small file system here";
  SaveRequest on_small = request(1);
  on_small.root = small + "/checkpoints";
  try {
    save(group(), on_small);
    // One checkpoint may fit: then the next ones must not, and the first stays.
    on_small.keep = 0;
    for (std::int64_t step = 2; step < 30; ++step) {
      on_small.state.step = step;
      save(group(), on_small);
    }
    ADD_FAILURE() << "96 KiB held thirty checkpoints";
  } catch (const StorageError& error) {
    EXPECT_THAT(error.what(), HasSubstr("space"));
  }
  group().barrier();
  if (fs::exists(on_small.root)) {
    for (const auto& entry : fs::directory_iterator(on_small.root))
      EXPECT_THAT(entry.path().filename().string(), testing::StartsWith("step_"));
  }
  on_lead([&] { ::umount2(small.c_str(), MNT_DETACH); });
}

}  // namespace
}  // namespace osler::checkpoint
