# How every target of the project is built: one function per kind of target, so that a leaf folder's
# CMakeLists.txt only lists its sources and what it depends on.

set(CMAKE_CXX_STANDARD 23)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)

find_program(STRATA_CCACHE ccache)
if(STRATA_CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${STRATA_CCACHE})
endif()
if(STRATA_TIDY)
  find_program(STRATA_CLANG_TIDY NAMES clang-tidy-19 REQUIRED)
endif()

find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)

# The flags that only our own code is held to; third-party headers are SYSTEM.
add_library(strata_flags INTERFACE)
target_compile_options(strata_flags INTERFACE
  -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wnon-virtual-dtor -Werror
  $<$<CXX_COMPILER_ID:Clang>:-Wthread-safety>
  # GCC 12 reports impossible paths inside libstdc++ when it inlines std::expected and std::variant.
  $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
target_compile_definitions(strata_flags INTERFACE
  _GNU_SOURCE _FILE_OFFSET_BITS=64 $<$<NOT:$<CONFIG:Debug>>:_FORTIFY_SOURCE=2>)
target_include_directories(strata_flags INTERFACE ${CMAKE_SOURCE_DIR})
target_link_libraries(strata_flags INTERFACE Threads::Threads)
# Programs start without the libraries that only parts of ours need (stratafs without libcrypto).
target_link_options(strata_flags INTERFACE -Wl,--as-needed)
if(STRATA_SANITIZE)
  # Not optimised: GCC spends three to five times as long on instrumented code with -O1, far more than the tests win by it.
  # The check of vptrs opens a pipe, and takes it for damage when a test leaves no descriptor.
  target_compile_options(strata_flags INTERFACE
    -fsanitize=${STRATA_SANITIZE} -fno-sanitize=vptr -fno-omit-frame-pointer -fno-sanitize-recover=all -O0 -g1)
  target_link_options(strata_flags INTERFACE -fsanitize=${STRATA_SANITIZE})
endif()

if(STRATA_FUZZ)
  target_compile_options(strata_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()

# strata_pkg(NAME MODULE): imported target pkg::NAME for a pkg-config module, headers SYSTEM.
function(strata_pkg name module)
  if(NOT TARGET PkgConfig::${name})
    pkg_check_modules(${name} REQUIRED IMPORTED_TARGET GLOBAL ${module})
  endif()
endfunction()

# strata_library(NAME SOURCES... [ALONE sources...] [DEPS public...] [PRIVATE private...]). ALONE names sources that a unity
# build (the quick preset) must not put into one file with others: they use names of theirs for other things.
function(strata_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;ALONE;DEPS;PRIVATE" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  set_source_files_properties(${ARG_ALONE} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
  target_link_libraries(${name} PUBLIC strata_flags ${ARG_DEPS} PRIVATE ${ARG_PRIVATE})
  if(STRATA_TIDY)
    set_target_properties(${name} PROPERTIES CXX_CLANG_TIDY "${STRATA_CLANG_TIDY};--quiet")
  endif()
endfunction()

# strata_program(NAME SOURCES... [DEPS ...]): an executable that ends up in <build>/bin.
function(strata_program name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE strata_flags ${ARG_DEPS})
  if(STRATA_TIDY)
    set_target_properties(${name} PROPERTIES CXX_CLANG_TIDY "${STRATA_CLANG_TIDY};--quiet")
  endif()
endfunction()

# strata_test(NAME SOURCES... [DEPS...] [LABELS...] [TIMEOUT seconds] [ARGS...]): a GoogleTest program that is one
# ctest entry. Labels: unit, property, conformance, fault, e2e; `sanitize` marks those the sanitizer runs repeat, whose
# programs the target `sanitize_tests` builds.
add_custom_target(sanitize_tests)
function(strata_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;DEPS;LABELS;ARGS" ${ARGN})
  find_package(GTest REQUIRED)
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE strata_flags ${ARG_DEPS} GTest::gtest GTest::gmock GTest::gtest_main)
  # What is tested is optimised as it ships; the tests themselves are there sooner.
  target_compile_options(${name} PRIVATE $<$<CONFIG:RelWithDebInfo>:-O1;-g1>)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  if("sanitize" IN_LIST ARG_LABELS)
    add_dependencies(sanitize_tests ${name})
  endif()
  add_test(NAME ${name} COMMAND ${name} ${ARG_ARGS})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  if(STRATA_SANITIZE)
    math(EXPR ARG_TIMEOUT "3 * ${ARG_TIMEOUT}")  # instrumented code is slower by as much
  endif()
  set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS "${ARG_LABELS}"
    ENVIRONMENT "STRATA_BIN_DIR=${CMAKE_RUNTIME_OUTPUT_DIRECTORY};STRATA_SOURCE_DIR=${CMAKE_SOURCE_DIR}")
endfunction()

# uring_run(NAME TEST arguments...): the test program TEST once more, on mounts served over io_uring; skipped where the
# kernel has none of that.
function(uring_run name test)
  add_test(NAME ${name} COMMAND ${test} ${ARGN})
  get_test_property(${test} TIMEOUT timeout)
  get_test_property(${test} LABELS labels)
  set_tests_properties(${name} PROPERTIES TIMEOUT ${timeout} LABELS "${labels}"
    SKIP_REGULAR_EXPRESSION "SKIP: the kernel has no FUSE over io_uring"
    ENVIRONMENT "STRATA_BIN_DIR=${CMAKE_RUNTIME_OUTPUT_DIRECTORY};STRATA_SOURCE_DIR=${CMAKE_SOURCE_DIR};STRATA_TRANSPORT=uring")
endfunction()
