# What differs from site to site: modules, network, launcher. Copy this file, name it after your site, and submit with
# OSLER_SITE=<name>. Nothing here is needed for a cluster whose Open MPI, HDF5 and CUDA are found by themselves.
# shellcheck shell=bash

# module load gcc openmpi cuda hdf5
# export NCCL_SOCKET_IFNAME=ib0
# export OSLER_LAUNCHER=mpirun      # where srun has no PMIx
export NCCL_DEBUG="${NCCL_DEBUG:-WARN}"
