#include <ATen/core/Tensor.h>
#include <c10/cuda/CUDAEvent.h>
#include <c10/cuda/CUDAStream.h>

#include "comm/device_streams.hpp"

namespace osler::comm {
namespace {

class CudaStreams final : public DeviceStreams {
 public:
  explicit CudaStreams(c10::Device device)
      : device_(device), communication_(c10::cuda::getStreamFromPool(/*isHighPriority=*/true, device.index())) {}

  c10::Device device() const override { return device_; }
  cudaStream_t current() override { return c10::cuda::getCurrentCUDAStream(device_.index()).stream(); }
  cudaStream_t communication() override { return communication_.stream(); }
  std::unique_ptr<Event> record(cudaStream_t stream) override {
    auto point = std::make_unique<Point>();
    point->event.record(c10::cuda::getStreamFromExternal(stream, device_.index()));
    return point;
  }
  void wait(cudaStream_t stream, const Event& event) override {
    // block() only reads the event; torch does not say so.
    const_cast<Point&>(static_cast<const Point&>(event))
        .event.block(c10::cuda::getStreamFromExternal(stream, device_.index()));
  }
  void keep_for_communication(const at::Tensor& tensor) override { tensor.record_stream(communication_.unwrap()); }
  std::unique_ptr<DeviceStreams> another() const override { return make_cuda_streams(device_); }

 private:
  struct Point final : Event {
    c10::cuda::CUDAEvent event;
  };

  c10::Device device_;
  c10::cuda::CUDAStream communication_;
};

}  // namespace

std::unique_ptr<DeviceStreams> make_cuda_streams(c10::Device device) {
  return std::make_unique<CudaStreams>(device);
}

}  // namespace osler::comm
