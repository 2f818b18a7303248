#include "model/kv_cache.hpp"

#include <ATen/ATen.h>

namespace osler::model {

KeyValueCache::KeyValueCache(std::int64_t num_layers, std::int64_t num_kv_heads, std::int64_t num_slots,
                             std::int64_t head_dim, const at::TensorOptions& options)
    : data_(at::empty({num_layers, 2, num_kv_heads, num_slots, head_dim}, options)) {}

at::Tensor KeyValueCache::keys(std::int64_t layer) const {
  return data_[layer][0];
}

at::Tensor KeyValueCache::values(std::int64_t layer) const {
  return data_[layer][1];
}

}  // namespace osler::model
