# suanli_room(NAME DEPENDS rooms... LIBRARIES targets... PRIVATE targets... EXCLUDE files...)
#
# One folder = one library target `suanli::NAME`. Sources are the folder's *.cc (subfolders too), less
#   *_test.cc   linked into the test binary NAME_test, each TEST registered with ctest
#   *_fuzz.cc   one fuzzer each; in ordinary builds linked with a deterministic smoke driver and run by ctest
#   *_bench.cc  benchmarks, built on request
include(GoogleTest)

add_library(suanli_options INTERFACE)
target_compile_features(suanli_options INTERFACE cxx_std_20)
# No contraction into fused multiply-add, so that the same source gives the same bits.
target_compile_options(suanli_options INTERFACE
  $<BUILD_INTERFACE:-Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -ffp-contract=off>
  $<BUILD_INTERFACE:$<$<BOOL:${SUANLI_WERROR}>:-Werror>>
  # clang finds a deprecated call inside libstdc++ 12's stable_sort.
  $<BUILD_INTERFACE:$<$<CXX_COMPILER_ID:Clang>:-Wno-deprecated-declarations>>
  # g++ 12 warns of "text" + std::string without cause (GCC bug 105651).
  $<BUILD_INTERFACE:$<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>>)
if(SUANLI_SANITIZE)
  target_compile_options(suanli_options INTERFACE
    $<BUILD_INTERFACE:-fsanitize=${SUANLI_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all>)
  target_link_options(suanli_options INTERFACE $<BUILD_INTERFACE:-fsanitize=${SUANLI_SANITIZE}>)
endif()
add_library(suanli::options ALIAS suanli_options)
set_target_properties(suanli_options PROPERTIES EXPORT_NAME options)

function(suanli_room NAME)
  cmake_parse_arguments(ROOM "" "" "DEPENDS;LIBRARIES;PRIVATE;EXCLUDE" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cc)
  foreach(file IN LISTS ROOM_EXCLUDE)
    list(REMOVE_ITEM sources ${CMAKE_CURRENT_SOURCE_DIR}/${file})
  endforeach()
  set(tests ${sources})
  set(fuzzers ${sources})
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")
  list(FILTER fuzzers INCLUDE REGEX "_fuzz\\.cc$")
  list(FILTER sources EXCLUDE REGEX "_(test|fuzz|bench)\\.cc$")

  set(target suanli_${NAME})
  add_library(${target} STATIC ${sources})
  add_library(suanli::${NAME} ALIAS ${target})
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${NAME} SUANLI_DEPENDS "${ROOM_DEPENDS}")
  target_include_directories(${target} PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}> $<INSTALL_INTERFACE:include>)
  list(TRANSFORM ROOM_DEPENDS PREPEND suanli::)
  target_link_libraries(${target} PUBLIC suanli::options ${ROOM_DEPENDS} ${ROOM_LIBRARIES} PRIVATE ${ROOM_PRIVATE})
  set_property(GLOBAL APPEND PROPERTY SUANLI_ROOMS ${NAME})

  if(NOT SUANLI_BUILD_TESTS)
    return()
  endif()
  if(tests)
    add_executable(${NAME}_test ${tests})
    target_link_libraries(${NAME}_test PRIVATE ${target} GTest::gmock GTest::gtest_main ${ROOM_PRIVATE})
    target_compile_definitions(${NAME}_test PRIVATE SUANLI_SOURCE_DIR="${PROJECT_SOURCE_DIR}"
                                                    SUANLI_BINARY_DIR="${PROJECT_BINARY_DIR}")
    gtest_discover_tests(${NAME}_test TEST_PREFIX ${NAME}. DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60
                         PROPERTIES TIMEOUT 900)
  endif()
  foreach(fuzzer IN LISTS fuzzers)
    suanli_fuzzer(${fuzzer} ${target})
  endforeach()
endfunction()

# A fuzzer defines LLVMFuzzerTestOneInput and, for the smoke driver, `suanli_fuzz_seeds()`: valid inputs to mutate.
function(suanli_fuzzer FILE LIBRARY)
  get_filename_component(stem ${FILE} NAME_WE)
  add_executable(${stem} ${FILE})
  target_link_libraries(${stem} PRIVATE ${LIBRARY})
  if(SUANLI_LIBFUZZER)
    target_compile_options(${stem} PRIVATE -fsanitize=fuzzer)
    target_link_options(${stem} PRIVATE -fsanitize=fuzzer)
  else()
    target_sources(${stem} PRIVATE ${PROJECT_SOURCE_DIR}/tests/fuzz_smoke_main.cc)
    add_test(NAME fuzz.${stem} COMMAND ${stem})
    set_tests_properties(fuzz.${stem} PROPERTIES TIMEOUT 300)
  endif()
endfunction()
