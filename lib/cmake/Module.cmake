# osler_module(NAME [TORCH] EDGES module... LIBRARIES lib...): the static library of lib/NAME.
# EDGES are the modules it may include (docs/design.md, Modules); the hygiene test holds the #include lines to them.

if(NOT TARGET osler_flags)
  add_library(osler_flags INTERFACE)
  target_compile_options(osler_flags INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Wno-missing-field-initializers
    $<$<BOOL:${OSLER_WARNINGS_AS_ERRORS}>:-Werror>)
  target_include_directories(osler_flags INTERFACE ${CMAKE_SOURCE_DIR}/lib)
  target_link_libraries(osler_flags INTERFACE Threads::Threads)
endif()

# One precompiled header for every translation unit that sees torch: without it each costs 20-30 s.
function(osler_use_torch target)
  if(NOT TARGET osler_torch_pch)
    file(WRITE ${CMAKE_BINARY_DIR}/torch_pch.cpp "// Owns the precompiled LibTorch header.\n")
    add_library(osler_torch_pch STATIC ${CMAKE_BINARY_DIR}/torch_pch.cpp)
    target_link_libraries(osler_torch_pch PUBLIC osler_flags osler_torch)
    target_precompile_headers(osler_torch_pch PRIVATE <ATen/ATen.h> <torch/csrc/autograd/custom_function.h>
      <torch/csrc/autograd/autograd.h> <c10/core/InferenceMode.h>)
    if(CCACHE_PROGRAM)
      target_compile_options(osler_torch_pch PUBLIC -fpch-preprocess)
    endif()
  endif()
  target_link_libraries(${target} PUBLIC osler_torch)
  if(CCACHE_PROGRAM)
    target_compile_options(${target} PRIVATE -fpch-preprocess)
  endif()
  target_precompile_headers(${target} REUSE_FROM osler_torch_pch)
endfunction()

function(osler_module name)
  cmake_parse_arguments(ARG "TORCH" "" "EDGES;LIBRARIES" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/lib/${name}/*.cpp)
  if(NOT sources)
    file(WRITE ${CMAKE_BINARY_DIR}/empty_${name}.cpp "")
    set(sources ${CMAKE_BINARY_DIR}/empty_${name}.cpp)
  endif()
  add_library(osler_${name} STATIC ${sources})
  list(TRANSFORM ARG_EDGES PREPEND osler_)
  target_link_libraries(osler_${name} PUBLIC osler_flags ${ARG_EDGES} PRIVATE ${ARG_LIBRARIES})
  if(ARG_TORCH)
    osler_use_torch(osler_${name})
  endif()
endfunction()
