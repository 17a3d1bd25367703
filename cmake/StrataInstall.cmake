# `cmake --install` and the Debian package: the programs that this configuration builds, their manual
# pages, completions, systemd units and documents.
include(GNUInstallDirs)

foreach(program stratafs strata stratad strata-store strata-profile)
  if(TARGET ${program})
    install(TARGETS ${program} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  endif()
endforeach()

# mount(8) runs /sbin/mount.fuse.TYPE for `mount -t fuse.TYPE`; ours needs no shell between the two.
if(TARGET stratafs)
  install(CODE "
    set(helper_dir \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_SBINDIR}\")
    file(MAKE_DIRECTORY \"\${helper_dir}\")
    file(CREATE_LINK ../${CMAKE_INSTALL_BINDIR}/stratafs \"\${helper_dir}/mount.fuse.stratafs\" SYMBOLIC)
    message(STATUS \"Installing: \${helper_dir}/mount.fuse.stratafs\")")
endif()

# Manual pages, where there is a Python to make roff of them.
find_package(Python3 QUIET COMPONENTS Interpreter)
file(GLOB manual_sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/docs/man/*.md)
if(Python3_Interpreter_FOUND)
  set(converter ${CMAKE_SOURCE_DIR}/packaging/man_to_roff.py)
  set(manual_pages)
  foreach(source ${manual_sources})
    get_filename_component(page ${source} NAME_WLE)  # stratafs.8
    string(REGEX REPLACE ".*\\." "" section ${page})
    set(output ${CMAKE_BINARY_DIR}/man/${page})
    add_custom_command(OUTPUT ${output}
      COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_BINARY_DIR}/man
      COMMAND Python3::Interpreter ${converter} ${source} ${output}
      DEPENDS ${source} ${converter})
    list(APPEND manual_pages ${output})
    install(FILES ${output} DESTINATION ${CMAKE_INSTALL_MANDIR}/man${section})
  endforeach()
  add_custom_target(strata_manual ALL DEPENDS ${manual_pages})
endif()

if(TARGET strata)
  set(completions ${CMAKE_SOURCE_DIR}/packaging/completions)
  install(FILES ${completions}/strata.bash RENAME strata
    DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
  install(FILES ${completions}/_strata
    DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/vendor-completions)
  install(FILES ${completions}/strata.fish
    DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
endif()

if(TARGET stratad)
  set(STRATA_BINDIR ${CMAKE_INSTALL_FULL_BINDIR})
  configure_file(packaging/systemd/stratad.service ${CMAKE_BINARY_DIR}/stratad.service @ONLY)
  install(FILES ${CMAKE_BINARY_DIR}/stratad.service DESTINATION lib/systemd/system)
  install(FILES packaging/systemd/stratad.default RENAME stratad
    DESTINATION ${CMAKE_INSTALL_FULL_SYSCONFDIR}/default)
endif()

install(FILES README.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR} RENAME copyright)
install(DIRECTORY docs/ DESTINATION ${CMAKE_INSTALL_DOCDIR} PATTERN man EXCLUDE)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME strata)
set(CPACK_PACKAGE_VENDOR Strata)
set(CPACK_PACKAGE_CONTACT "The Strata authors <strata@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "${PROJECT_DESCRIPTION}")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION admin)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_DEPENDS "ca-certificates")
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "conmon, fuse3, runc | crun")
include(CPack)
