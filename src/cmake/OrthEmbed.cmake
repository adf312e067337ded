# orth_embed(target file symbol): the bytes of a file, and a zero, as `const char symbol[]` in the
# target. The program then needs no files of its own where it runs.
function(orth_embed target file symbol)
  set(path ${CMAKE_CURRENT_SOURCE_DIR}/${file})
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${path})
  file(READ ${path} hex HEX)
  string(REGEX REPLACE "(..)" "0x\\1," bytes "${hex}")
  set(source ${CMAKE_BINARY_DIR}/embedded/${symbol}.c)
  file(CONFIGURE OUTPUT ${source} CONTENT
       "extern const char ${symbol}[];\nconst char ${symbol}[] = {${bytes}0};\n" @ONLY)
  target_sources(${target} PRIVATE ${source})
endfunction()
