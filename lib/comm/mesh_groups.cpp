#include "comm/mesh_groups.hpp"

#include "base/error.hpp"

namespace osler::comm {
namespace {

/// Neighbours in blocks of `size`.
std::unique_ptr<Group> split_blocks(Group& ranks, std::int64_t size) {
  return ranks.split(static_cast<int>(ranks.rank() / size), ranks.rank());
}
/// Every `stride`-th rank.
std::unique_ptr<Group> split_strided(Group& ranks, std::int64_t stride) {
  return ranks.split(static_cast<int>(ranks.rank() % stride), ranks.rank());
}

}  // namespace

MeshGroups::MeshGroups(Group& ranks, const plan::Mesh& mesh)
    : mesh_(mesh),
      world_(&ranks),
      tp_(split_blocks(ranks, mesh.tp)),
      dp_(split_strided(ranks, mesh.tp)),
      ep_(split_blocks(ranks, mesh.ep)),
      edp_(split_strided(ranks, mesh.ep)) {
  OSLER_CHECK(ranks.size() == mesh.world && mesh.dp * mesh.tp == mesh.world && mesh.edp * mesh.ep == mesh.world,
              "a mesh of ", mesh.world, " ranks over a group of ", ranks.size());
}

const MeshGroups& single() {
  static const MeshGroups groups(self_group());
  return groups;
}

Group& MeshGroups::replicas(std::int64_t replicas) const {
  if (replicas == 1) return self_group();
  if (replicas == tp_->size()) return *tp_;
  if (!replicas_) replicas_ = split_blocks(*tp_, replicas);
  OSLER_CHECK(replicas_->size() == replicas, replicas, " replicas after ", replicas_->size());
  return *replicas_;
}

}  // namespace osler::comm
