# orth_embed(target folder [file...]): the files of src/<layer>/<folder>/, and others, become texts in
# the program, in the table orth_<folder>_files (include/orthant/base/embedded.h). The assembler reads
# the files themselves, so they stay what an editor knows, and are built in again when they change.
function(orth_embed target folder)
  get_target_property(source_folder ${target} SOURCE_DIR)
  string(REPLACE "orth_" "" layer ${target})
  file(GLOB files CONFIGURE_DEPENDS ${source_folder}/src/${layer}/${folder}/*)
  list(APPEND files ${ARGN})
  set(texts "")
  set(rows "")
  set(index 0)
  foreach(file IN LISTS files)
    cmake_path(GET file FILENAME name)
    set(symbol orth_${folder}_file_${index})
    string(APPEND texts "__asm__(\".section .rodata\\n${symbol}_begin:\\n"
                        ".incbin \\\"${file}\\\"\\n${symbol}_end:\\n.byte 0\\n.previous\\n\");\n"
                        "extern const char ${symbol}_begin[], ${symbol}_end[];\n")
    string(APPEND rows "    {\"${name}\", ${symbol}_begin, ${symbol}_end},\n")
    math(EXPR index "${index} + 1")
  endforeach()
  set(source ${CMAKE_BINARY_DIR}/embed/${folder}_files.c)
  file(CONFIGURE OUTPUT ${source} CONTENT
"#include <orthant/base/embedded.h>
#include <stddef.h>
extern const struct orth_file orth_${folder}_files[];
${texts}
const struct orth_file orth_${folder}_files[] = {
${rows}    {NULL, NULL, NULL},
};
" @ONLY)
  set_source_files_properties(${source} PROPERTIES OBJECT_DEPENDS "${files}")
  target_sources(${target} PRIVATE ${source})
endfunction()
