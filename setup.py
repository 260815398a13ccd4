from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
version = next(line.split('"')[1] for line in (here / "wedefense/__init__.py").read_text(encoding="utf-8").splitlines()
               if line.startswith("__version__"))
requirements = [line for line in (here / "requirements.txt").read_text(encoding="utf-8").splitlines()
                if line and not line.startswith("#")]

setup(
    name="wedefense",
    version=version,
    description="Detecting fake speech with self-supervised models",
    long_description=(here / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    packages=find_packages(include=["wedefense", "wedefense.*"]),
    package_data={"wedefense": ["**/*.yaml", "**/*.json"]},
    python_requires=">=3.10",
    install_requires=requirements,
    extras_require={"export": ["onnx", "onnxruntime"], "parquet": ["pyarrow"],
                    "test": ["pytest", "ruff", "mypy", "hypothesis", "webdataset", "scikit-learn", "onnx",
                             "onnxruntime", "pyarrow"]},
    entry_points={"console_scripts": ["wedefense = wedefense.cli:run"]},
)
