# `cmake --install` and the Debian package.
