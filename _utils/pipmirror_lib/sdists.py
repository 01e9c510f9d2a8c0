from pipmirror_lib.builder import read_build_system, read_pkg_info

__all__ = ["read_build_system", "read_pkg_info"]
