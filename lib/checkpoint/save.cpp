// The save protocol (docs/formats.md): nothing is visible under a final name before it is whole and on disk, and every
// verdict is collective.
#include <sys/stat.h>
#include <unistd.h>

#include <ATen/ATen.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <random>
#include <thread>

#include "base/log.hpp"
#include "base/publish.hpp"
#include "checkpoint/checkpoint.hpp"
#include "checkpoint/directory.hpp"
#include "checkpoint/shard_files.hpp"
#include "comm/torch_dtype.hpp"

namespace osler::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr double kSpareSpace = 1.1;  // of the tensors' bytes: file headers, index, tokenizer
// A network file system may show a folder that another node made only after half a minute.
constexpr int kMaxWaitForFolder_s = 90;

std::vector<comm::ShardedTensor> primary_of(const std::vector<comm::ShardedTensor>& tensors) {
  std::vector<comm::ShardedTensor> primary;
  std::copy_if(tensors.begin(), tensors.end(), std::back_inserter(primary), [](const auto& t) { return t.is_primary; });
  return primary;
}

std::vector<plan::Piece> pieces_of(const std::vector<comm::ShardedTensor>& tensors) {
  std::vector<plan::Piece> pieces;
  for (const comm::ShardedTensor& tensor : tensors) {
    OSLER_CHECK(tensor.data.numel() == plan::num_elements(tensor.piece.extent), tensor.piece.name);
    pieces.push_back(tensor.piece);
  }
  return pieces;
}

std::int64_t total_bytes(const std::vector<plan::Piece>& pieces) {
  std::int64_t total = 0;
  for (const plan::Piece& piece : pieces)
    total += plan::num_elements(piece.extent) * static_cast<std::int64_t>(size_bytes(piece.dtype));
  return total;
}

/// Rank 0: the folder to write in, after clearing what dead runs left.
std::string prepare_folder(const SaveRequest& request, std::int64_t num_bytes) {
  make_directories(request.root);
  for (const std::string& name : list_checkpoints(request.root).temporary) {
    log::info("removing '", name, "', which an interrupted save left in ", request.root);
    remove_checkpoint(request.root + "/" + name);
  }
  const double wanted = kSpareSpace * static_cast<double>(num_bytes);
  const std::uint64_t available = free_bytes(request.root);
  if (static_cast<double>(available) < wanted)
    throw StorageError("not enough space for a checkpoint in '", request.root,
                       "': ", static_cast<std::uint64_t>(wanted), " bytes wanted, ", available,
                       " free; free space or lower checkpoint.keep");
  const std::string nonce = std::to_string(std::random_device{}());
  const std::string folder = request.root + "/.tmp-" + step_name(request.state.step) + "-" + nonce;
  make_directories(folder);
  return folder;
}

void wait_for_folder(const std::string& folder) {
  struct stat status {};
  for (int waited_ms = 0, pause_ms = 10; ::stat(folder.c_str(), &status) != 0;
       pause_ms = std::min(pause_ms * 2, 1000)) {
    if (waited_ms > kMaxWaitForFolder_s * 1000)
      throw StorageError("'", folder, "', which rank 0 made, is not visible here after ", kMaxWaitForFolder_s,
                         " s: checkpoints must lie on a file system that all nodes share");
    std::this_thread::sleep_for(std::chrono::milliseconds(pause_ms));
    waited_ms += pause_ms;
  }
}

std::string write_own_files(comm::Group& group, const std::vector<comm::ShardedTensor>& tensors, std::int64_t step,
                            const std::string& folder) {
  const at::NoGradGuard no_grad;
  wait_for_folder(folder);
  const auto fill = [&](std::size_t index, std::span<std::byte> out) {
    const comm::ShardedTensor& tensor = tensors[index];
    const auto options = at::TensorOptions().dtype(comm::scalar_type_of(tensor.piece.dtype));
    at::from_blob(out.data(), tensor.data.sizes(), options).copy_(tensor.data);  // straight from the device
  };
  const ShardPlan plan{.directory = folder, .rank = group.rank(), .world_size = group.size(), .step = step};
  const WrittenShard shard = write_shard_files(plan, pieces_of(tensors), fill);
  return part_text(shard.files, shard.tensors);
}

/// Rank 0: what makes the folder a checkpoint, then its final name.
void finish_folder(const SaveRequest& request, const std::vector<std::string>& parts, const std::string& folder,
                   const std::string& final_name) {
  Manifest manifest;
  manifest.world_size = static_cast<std::int64_t>(parts.size());
  manifest.state = request.state;
  for (const std::string& part : parts) add_part(manifest, part);
  manifest.files.push_back(write_index_file(folder, manifest));
  for (FileEntry& file : copy_tokenizer_files(folder, request.tokenizer_files))
    manifest.files.push_back(std::move(file));
  write_manifest(folder, std::move(manifest));
  publish_checkpoint(folder, final_name);
}

}  // namespace

std::string save(comm::Group& group, const SaveRequest& request) {
  const bool leads = group.rank() == 0;
  const std::vector<comm::ShardedTensor> tensors = primary_of(request.tensors);
  const std::int64_t num_bytes = group.all_reduce_value(total_bytes(pieces_of(tensors)), comm::ReduceOp::sum);
  const std::string final_name = request.root + "/" + step_name(request.state.step);
  std::string folder;
  try {
    comm::agree_after(group, [&] {
      if (leads) folder = prepare_folder(request, num_bytes);
    });
    folder = group.broadcast_bytes(folder, 0);
    std::string part;
    comm::agree_after(group, [&] { part = write_own_files(group, tensors, request.state.step, folder); });
    const std::vector<std::string> parts = group.all_gather_bytes(part);
    comm::agree_after(group, [&] {
      if (leads) finish_folder(request, parts, folder, final_name);
    });
  } catch (...) {
    // Every rank is here with the same error: nobody writes any more.
    if (leads && !folder.empty()) remove_checkpoint(folder);
    throw;
  }
  if (leads) {
    try {
      rotate(request.root, request.keep, request.keep_steps);
    } catch (const Error& error) {
      log::warning("older checkpoints were not rotated: ", error.what());
    }
  }
  return final_name;
}

}  // namespace osler::checkpoint
