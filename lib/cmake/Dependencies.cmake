# Finds every outside library and names all that are missing in one message.
#
# LibTorch is the PyPI torch wheel by default (build/venv, made by quickstart.sh); any LibTorch >= 2.9 on
# CMAKE_PREFIX_PATH is taken instead. The CUDA toolkit, NCCL and cuDNN come from the wheels beside it where they
# exist, so that one version of each serves build and run; else from the system.

set(osler_missing "")
macro(osler_require what found hint)
  if(NOT ${found})
    list(APPEND osler_missing "  ${what}: ${hint}")
  endif()
endmacro()

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM)
  # Precompiled headers with GCC need these to be cacheable.
  set(osler_ccache ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
      CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} CCACHE_NOHASHDIR=1 ${CCACHE_PROGRAM})
  set(CMAKE_C_COMPILER_LAUNCHER ${osler_ccache})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${osler_ccache})
endif()

find_package(Threads REQUIRED)
# Without it at::parallel_for, a template, silently runs on one thread in code of ours.
find_package(OpenMP COMPONENTS CXX)
osler_require("OpenMP" OpenMP_CXX_FOUND "take a compiler with OpenMP, such as g++")
set(MPI_CXX_SKIP_MPICXX ON)
find_package(MPI COMPONENTS C)
osler_require("Open MPI" MPI_C_FOUND "apt install libopenmpi-dev openmpi-bin, or load your site's module")
find_package(HDF5 COMPONENTS C)
osler_require("HDF5" HDF5_FOUND "apt install libhdf5-dev, or load your site's module")
find_package(Boost 1.70 COMPONENTS program_options)
osler_require("Boost.ProgramOptions" Boost_FOUND "apt install libboost-program-options-dev")
find_package(nlohmann_json 3.10 QUIET)
osler_require("nlohmann/json" nlohmann_json_FOUND "apt install nlohmann-json3-dev")
find_package(spdlog QUIET)
osler_require("spdlog" spdlog_FOUND "apt install libspdlog-dev")
find_package(OpenSSL QUIET COMPONENTS Crypto)
osler_require("OpenSSL" OPENSSL_FOUND "apt install libssl-dev")
find_package(ZLIB QUIET)
osler_require("zlib" ZLIB_FOUND "apt install zlib1g-dev")
find_package(ICU QUIET COMPONENTS uc)
osler_require("ICU" ICU_FOUND "apt install libicu-dev")
find_library(ZSTD_LIBRARY zstd)
osler_require("zstd" ZSTD_LIBRARY "apt install libzstd-dev")
find_library(SENTENCEPIECE_LIBRARY sentencepiece)
find_path(SENTENCEPIECE_INCLUDE_DIR sentencepiece_processor.h)
osler_require("SentencePiece" SENTENCEPIECE_LIBRARY "apt install libsentencepiece-dev")
if(BUILD_TESTING)
  find_package(GTest QUIET)
  osler_require("GoogleTest" GTest_FOUND "apt install libgtest-dev libgmock-dev, or -DBUILD_TESTING=OFF")
endif()

# --- LibTorch, CUDA, NCCL, cuDNN
file(GLOB osler_venv_site LIST_DIRECTORIES true ${CMAKE_SOURCE_DIR}/build/venv/lib/python3*/site-packages)
if(osler_venv_site)
  list(GET osler_venv_site 0 osler_venv_site)
  list(APPEND CMAKE_PREFIX_PATH ${osler_venv_site}/torch/share/cmake)
endif()
find_path(OSLER_TORCH_CMAKE_DIR TorchConfig.cmake PATH_SUFFIXES Torch share/cmake/Torch torch/share/cmake/Torch)
osler_require("LibTorch" OSLER_TORCH_CMAKE_DIR
  "run ./quickstart.sh --setup, or -DCMAKE_PREFIX_PATH=$(python3 -c 'import torch; print(torch.utils.cmake_prefix_path)')")

# TorchConfig enables CUDA by itself: point it at the toolkit that matches the wheel.
if(OSLER_TORCH_CMAKE_DIR)
  get_filename_component(osler_nvidia "${OSLER_TORCH_CMAKE_DIR}/../../../../nvidia" ABSOLUTE)
  file(GLOB osler_cuda_wheel ${osler_nvidia}/cu*/bin/nvcc)
  if(osler_cuda_wheel AND NOT CMAKE_CUDA_COMPILER)
    list(GET osler_cuda_wheel 0 CMAKE_CUDA_COMPILER)
    get_filename_component(CUDA_TOOLKIT_ROOT_DIR "${CMAKE_CUDA_COMPILER}/../.." ABSOLUTE)
    set(CUDAToolkit_ROOT ${CUDA_TOOLKIT_ROOT_DIR})
    set(ENV{CUDACXX} ${CMAKE_CUDA_COMPILER})
  endif()
  find_program(osler_nvcc nvcc HINTS ${CUDA_TOOLKIT_ROOT_DIR}/bin ENV CUDA_HOME PATH_SUFFIXES bin)
  osler_require("CUDA toolkit (nvcc)" osler_nvcc
    "run ./quickstart.sh --setup, which brings it as a wheel, or load your site's CUDA module")
endif()

if(osler_missing)
  list(JOIN osler_missing "\n" osler_missing_text)
  message(FATAL_ERROR "Osler cannot be built here yet; missing:\n${osler_missing_text}\n"
    "On Debian 12, './quickstart.sh --setup' installs all of them.")
endif()

if(NOT DEFINED TORCH_CUDA_ARCH_LIST)
  set(TORCH_CUDA_ARCH_LIST "8.0;9.0")   # A100, H100/H200; no kernel of ours depends on it
endif()
find_package(Torch 2.9 REQUIRED PATHS ${OSLER_TORCH_CMAKE_DIR})
find_library(OSLER_NCCL_LIBRARY NAMES libnccl.so.2 nccl HINTS ${osler_nvidia}/nccl/lib NO_DEFAULT_PATH)
find_library(OSLER_NCCL_LIBRARY NAMES nccl)
find_path(OSLER_NCCL_INCLUDE_DIR nccl.h HINTS ${osler_nvidia}/nccl/include NO_DEFAULT_PATH)
find_path(OSLER_NCCL_INCLUDE_DIR nccl.h)
find_library(OSLER_CUDNN_LIBRARY NAMES libcudnn.so.9 cudnn HINTS ${osler_nvidia}/cudnn/lib NO_DEFAULT_PATH)
find_library(OSLER_CUDNN_LIBRARY NAMES cudnn)
find_path(OSLER_CUDNN_INCLUDE_DIR cudnn.h HINTS ${osler_nvidia}/cudnn/include NO_DEFAULT_PATH)
find_path(OSLER_CUDNN_INCLUDE_DIR cudnn.h)
foreach(part NCCL_LIBRARY NCCL_INCLUDE_DIR CUDNN_LIBRARY CUDNN_INCLUDE_DIR)
  if(NOT OSLER_${part})
    message(FATAL_ERROR "OSLER_${part} not found: NCCL and cuDNN come with the torch wheel, or load your site's modules")
  endif()
endforeach()

add_library(osler_nccl INTERFACE)
target_include_directories(osler_nccl SYSTEM INTERFACE ${OSLER_NCCL_INCLUDE_DIR})
target_link_libraries(osler_nccl INTERFACE ${OSLER_NCCL_LIBRARY})
add_library(osler_cudnn INTERFACE)
target_include_directories(osler_cudnn SYSTEM INTERFACE ${OSLER_CUDNN_INCLUDE_DIR})
target_link_libraries(osler_cudnn INTERFACE ${OSLER_CUDNN_LIBRARY})

# LibTorch's own libraries need the wheels' CUDA libraries at link time, ahead of any older system copy.
file(GLOB osler_wheel_libs LIST_DIRECTORIES true ${osler_nvidia}/*/lib)
add_library(osler_torch INTERFACE)
target_include_directories(osler_torch SYSTEM INTERFACE ${TORCH_INCLUDE_DIRS})
target_link_libraries(osler_torch INTERFACE ${TORCH_LIBRARIES} OpenMP::OpenMP_CXX)
foreach(dir IN LISTS osler_wheel_libs)
  target_link_options(osler_torch INTERFACE "LINKER:-rpath-link,${dir}")
  list(APPEND CMAKE_BUILD_RPATH ${dir})
endforeach()
set(CMAKE_INSTALL_RPATH_USE_LINK_PATH ON)

add_library(osler_sentencepiece INTERFACE)
target_include_directories(osler_sentencepiece SYSTEM INTERFACE ${SENTENCEPIECE_INCLUDE_DIR})
target_link_libraries(osler_sentencepiece INTERFACE ${SENTENCEPIECE_LIBRARY})
add_library(osler_hdf5 INTERFACE)
target_include_directories(osler_hdf5 SYSTEM INTERFACE ${HDF5_C_INCLUDE_DIRS})
target_link_libraries(osler_hdf5 INTERFACE ${HDF5_C_LIBRARIES})
