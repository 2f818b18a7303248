# configs/prompts as a source of osler_eval: the built-in prompts are these files, wherever the program runs.

file(GLOB_RECURSE prompt_files RELATIVE ${CMAKE_SOURCE_DIR}/configs/prompts CONFIGURE_DEPENDS
  ${CMAKE_SOURCE_DIR}/configs/prompts/*.txt)
list(SORT prompt_files)
set(osler_prompts "")
foreach(prompt_file IN LISTS prompt_files)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/configs/prompts/${prompt_file})
  file(READ ${CMAKE_SOURCE_DIR}/configs/prompts/${prompt_file} prompt_text)
  string(REGEX REPLACE "\\.txt$" "" prompt_name "${prompt_file}")
  string(APPEND osler_prompts "    {\"${prompt_name}\", R\"prompt(${prompt_text})prompt\"},\n")
endforeach()
configure_file(${CMAKE_CURRENT_LIST_DIR}/../eval/builtin_prompts.cpp.in ${CMAKE_BINARY_DIR}/builtin_prompts.cpp @ONLY)
target_sources(osler_eval PRIVATE ${CMAKE_BINARY_DIR}/builtin_prompts.cpp)
