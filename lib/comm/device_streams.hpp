// What NcclGroup needs of its device: streams, and the order between them. Real in cuda_streams.cpp; a recording double
// in the tests takes its place where there is no GPU. Local.
#pragma once

#include <ATen/core/Tensor.h>
#include <driver_types.h>

#include <memory>

namespace osler::comm {

class DeviceStreams {
 public:
  /// A point in a stream.
  class Event {
   public:
    virtual ~Event() = default;
  };

  virtual ~DeviceStreams() = default;
  virtual c10::Device device() const = 0;
  /// That tensor operations of this thread are queued on.
  virtual cudaStream_t current() = 0;
  /// The group's own, so that its work runs beside the current stream's.
  virtual cudaStream_t communication() = 0;
  /// After all that is queued on `stream` now.
  virtual std::shared_ptr<Event> record(cudaStream_t stream) = 0;
  /// What is queued on `stream` from now on runs after `event`.
  virtual void wait(cudaStream_t stream, const Event& event) = 0;
  virtual bool is_over(const Event& event) = 0;  ///< any thread
  /// The memory is not given to others before what is queued on communication() is through.
  virtual void keep_for_communication(const at::Tensor& tensor) = 0;
  /// For another group on the same device.
  virtual std::unique_ptr<DeviceStreams> another() const = 0;
};

std::unique_ptr<DeviceStreams> make_cuda_streams(c10::Device device);

}  // namespace osler::comm
