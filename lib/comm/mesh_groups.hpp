// The axes of the mesh as groups: world = dp x tp for dense parameters, the same world = edp x ep for experts; tp ranks
// are neighbours, and so are ep ranks. An axis of one rank is a group that costs nothing.
#pragma once

#include <cstdint>
#include <memory>

#include "comm/group.hpp"
#include "plan/mesh.hpp"

namespace osler::comm {

class MeshGroups {
 public:
  /// Splits `ranks`, which outlives this and has mesh.world ranks. *Collective over ranks.*
  explicit MeshGroups(Group& ranks, const plan::Mesh& mesh = {});

  const plan::Mesh& mesh() const { return mesh_; }
  Group& world() const { return *world_; }
  Group& tp() const { return *tp_; }
  Group& dp() const { return *dp_; }
  Group& ep() const { return *ep_; }
  Group& edp() const { return *edp_; }
  /// The `replicas` neighbours of tp that this rank is one of; replicas divides tp. Made on first use: *collective over
  /// tp* then.
  Group& replicas(std::int64_t replicas) const;

 private:
  plan::Mesh mesh_;
  Group* world_;
  std::unique_ptr<Group> tp_, dp_, ep_, edp_;
  mutable std::unique_ptr<Group> replicas_;
};

/// The axes of one rank on its own, whoever else there is; they live as long as the program.
const MeshGroups& single();

}  // namespace osler::comm
