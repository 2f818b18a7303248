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
  std::shared_ptr<Event> record(cudaStream_t stream) override {
    auto point = std::make_shared<Point>();
    point->event.record(c10::cuda::getStreamFromExternal(stream, device_.index()));
    return point;
  }
  void wait(cudaStream_t stream, const Event& event) override {
    inside(event).block(c10::cuda::getStreamFromExternal(stream, device_.index()));
  }
  bool is_over(const Event& event) override { return inside(event).query(); }
  void keep_for_communication(const at::Tensor& tensor) override { tensor.record_stream(communication_.unwrap()); }
  std::unique_ptr<DeviceStreams> another() const override { return make_cuda_streams(device_); }

 private:
  struct Point final : Event {
    mutable c10::cuda::CUDAEvent event;  // torch's block() only reads, but does not say so
  };
  static c10::cuda::CUDAEvent& inside(const Event& event) { return static_cast<const Point&>(event).event; }

  c10::Device device_;
  c10::cuda::CUDAStream communication_;
};

}  // namespace

std::unique_ptr<DeviceStreams> make_cuda_streams(c10::Device device) {
  return std::make_unique<CudaStreams>(device);
}

}  // namespace osler::comm
