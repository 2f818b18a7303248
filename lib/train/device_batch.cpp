#include "train/device_batch.hpp"

#include <ATen/ATen.h>

#include <algorithm>

namespace osler::train {

namespace {

at::Tensor copy_flat(const at::Tensor& host_BT, c10::Device device) {
  const at::Tensor flat_R = host_BT.flatten();
  if (device.is_cpu()) return flat_R;
  return flat_R.pin_memory().to(device, /*non_blocking=*/true);
}

}  // namespace

model::AttentionLayout attention_layout_of(const at::Tensor& segments_BT) {
  const at::Tensor segments = segments_BT.contiguous();
  const std::int64_t num_columns = segments.size(1);
  model::AttentionLayout layout;
  layout.num_rows = segments.numel();
  const std::int64_t* segment = segments.data_ptr<std::int64_t>();
  for (std::int64_t row = 0; row < layout.num_rows; ++row) {
    const bool starts = row % num_columns == 0 || segment[row] != segment[row - 1];
    if (starts) layout.segments.push_back({.begin = row, .length = 0});
    ++layout.segments.back().length;
  }
  return layout;
}

at::Tensor is_token(const data::Batch& batch) {
  const std::int64_t num_columns = batch.labels_BT.size(1);
  const auto is_full = [&](std::int64_t length) { return length == num_columns; };
  if (std::all_of(batch.lengths_B.begin(), batch.lengths_B.end(), is_full)) return {};
  return at::arange(num_columns, at::kLong).lt(at::tensor(batch.lengths_B, at::kLong).unsqueeze(1)).flatten();
}

DeviceBatch to_device(const data::Batch& batch, c10::Device device) {
  return {.tokens_R = copy_flat(batch.tokens_BT, device),
          .labels_R = copy_flat(batch.labels_BT, device),
          .positions_R = copy_flat(batch.positions_BT, device),
          .layout = attention_layout_of(batch.segments_BT)};
}

}  // namespace osler::train
