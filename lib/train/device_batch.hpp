// A micro-batch as the model takes it: flattened rows on the device, and which rows may attend to which. Local.
#pragma once

#include <ATen/core/Tensor.h>

#include "data/batch.hpp"
#include "model/attention_layout.hpp"

namespace osler::train {

struct DeviceBatch {
  at::Tensor tokens_R;  ///< int64 on the device
  at::Tensor labels_R;
  at::Tensor positions_R;
  model::AttentionLayout layout;
};

/// bool [B * T] on the host: which rows are tokens and not padding. Undefined where all are.
at::Tensor is_token(const data::Batch& batch);

/// Starts the copies; the device orders them before what uses them.
DeviceBatch to_device(const data::Batch& batch, c10::Device device);

/// One segment per run of equal segments_BT within a row of the batch.
model::AttentionLayout attention_layout_of(const at::Tensor& segments_BT);

}  // namespace osler::train
