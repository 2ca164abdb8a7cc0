"""conan create packaging/conan: the library of the tree it lies in."""
import pathlib
import re

from conan import ConanFile
from conan.tools.cmake import CMake, CMakeDeps, CMakeToolchain, cmake_layout
from conan.tools.files import copy

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


class Grouphead(ConanFile):
    name = "grouphead"
    license = "Apache-2.0"
    description = "Attention layers for CPUs: grouped-query, multi-query and multi-head, with gradients"
    package_type = "library"
    settings = "os", "compiler", "build_type", "arch"
    options = {"shared": [True, False], "keras_files": [True, False], "text": [True, False]}
    default_options = {"shared": False, "keras_files": True, "text": True}

    def set_version(self):
        header = (ROOT / "include/grouphead/core/version.h").read_text()
        parts = re.findall(r"GROUPHEAD_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)", header)
        self.version = ".".join(parts)

    def export_sources(self):
        for folder in ("include", "src", "cmake", "docs"):
            copy(self, f"{folder}/*", ROOT, self.export_sources_folder)
        for name in ("CMakeLists.txt", "LICENSE", "README.md", "CHANGELOG.md"):
            copy(self, name, ROOT, self.export_sources_folder)

    def requirements(self):
        self.requires("highway/[>=1.0.3 <2]")
        self.requires("nlohmann_json/[>=3.11 <4]")
        self.requires("onednn/[>=2.6]")
        self.requires("onetbb/[>=2021.8]")
        if self.options.keras_files:
            self.requires("hdf5/[>=1.10]")
            self.requires("libzip/[>=1.7]")
            self.requires("zlib/[>=1.2]")
        if self.options.text:
            self.requires("icu/[>=72]")

    def layout(self):
        cmake_layout(self)

    def generate(self):
        CMakeDeps(self).generate()
        toolchain = CMakeToolchain(self)
        toolchain.cache_variables["GROUPHEAD_TOOLS"] = False
        toolchain.cache_variables["GROUPHEAD_TESTS"] = False
        toolchain.cache_variables["GROUPHEAD_IO_KERAS"] = bool(self.options.keras_files)
        toolchain.cache_variables["GROUPHEAD_TEXT"] = bool(self.options.text)
        toolchain.generate()

    def build(self):
        cmake = CMake(self)
        cmake.configure()
        cmake.build()

    def package(self):
        CMake(self).install()

    def package_info(self):
        self.cpp_info.set_property("cmake_find_mode", "none")  # its own files are better
        self.cpp_info.builddirs = ["lib/cmake/grouphead"]
