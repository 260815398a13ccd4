import runpy
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

here = Path(__file__).parent
version = next(line.split('"')[1] for line in (here / "wedefense/__init__.py").read_text(encoding="utf-8").splitlines()
               if line.startswith("__version__"))
requirements = [line for line in (here / "requirements.txt").read_text(encoding="utf-8").splitlines()
                if line and not line.startswith("#")]
tested = ["torch==2.11.*"]  # with torchaudio 2.11.0: 2.11.1 is built for PyTorch 2.15, and does not load beside 2.11
extras = {"export": ["onnx", "onnxruntime"], "parquet": ["pyarrow"], "lmdb": ["lmdb"],
          "s3prl": ["s3prl>=0.4.18", "torchaudio==2.11.0", *tested],
          "peft": ["peft>=0.15", "transformers>=4.48"],  # tried with 0.21 and 5.24
          "hub": ["huggingface_hub>=0.34"], "demo": ["gradio>=6.31,<7"]}  # tried with 6.31
extras["all"] = sorted({package for packages in extras.values() for package in packages})
extras["docs"] = ["mkdocs-material==9.7.*", "mkdocs>=1.6,<2"]  # Material 9 is for mkdocs 1
extras["tested"] = tested
extras["test"] = ["pytest", "pytest-xdist", "ruff", "mypy", "hypothesis", "jsonschema", "webdataset", "scikit-learn",
                  "transformers", "pyarrow", "setuptools>=70.1", *extras["export"], *extras["s3prl"], *extras["docs"],
                  *extras["hub"], *extras["peft"]]


class WithRecipes(build_py):
    """Puts `egs/`, `conf/` and `tools/` beside the modules, as `wedefense/recipes`; sdists hold them too."""

    def finalize_options(self):
        super().finalize_options()
        self.shipped = runpy.run_path(str(here / "wedefense/utils/recipe_files.py"))["recipe_files"](here)
        self.data_files = [*self.data_files, ("wedefense", "", f"{self.build_lib}/wedefense/recipes", self.shipped)]

    def get_source_files(self):
        return [*super().get_source_files(), *self.shipped]


setup(
    name="wedefense",
    version=version,
    description="Detecting fake speech with self-supervised models",
    long_description=(here / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    classifiers=["Programming Language :: Python :: 3",
                 *(f"Programming Language :: Python :: 3.{minor}" for minor in range(10, 14)), "Typing :: Typed"],
    packages=find_packages(include=["wedefense", "wedefense.*"]),
    package_data={"wedefense": ["**/*.yaml", "**/*.json", "**/*.css", "**/*.js", "py.typed"]},
    cmdclass={"build_py": WithRecipes},
    python_requires=">=3.10,<3.14",
    install_requires=requirements,
    extras_require=extras,
    entry_points={"console_scripts": ["wedefense = wedefense.cli:run"]},
)
