"""Builds the C++ sources as one library for this processor; it has no Python interface of its own."""

import os
import sys

from setuptools import Extension, setup

# -fno-math-errno lets roots be vectorised; NaN and infinity keep their meaning
FLAGS = ["-O3", "-march=native", "-std=gnu++17", "-fno-math-errno", "-Wall", "-Wextra"]
OPENMP = [] if sys.platform == "darwin" else ["-fopenmp"]

setup(
    ext_modules=[
        Extension(
            "evonas_kernels.library",
            sources=[
                "src/ssd.cpp",
                "src/scan.cpp",
                "src/dilated.cpp",
                "src/causal_ssd.cpp",
                "src/depthwise_silu.cpp",
            ],
            depends=["src/vector.h"],
            language="c++",
            extra_compile_args=[*os.environ.get("EVONAS_CXXFLAGS", "").split(), *FLAGS, *OPENMP],
            extra_link_args=OPENMP,
        )
    ]
)
