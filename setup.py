"""Build sirenbook from settings.ini, the one place where versions and requirements are written."""
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
ini = ConfigParser(delimiters=["="])
ini.read(here/"settings.ini", encoding="utf-8")
cfg = ini["DEFAULT"]

def needs(key): return cfg.get(key, "").split()

def readme():
    path = here/"README.md"
    return path.read_text(encoding="utf-8") if path.exists() else cfg["description"]

train = needs("train_requirements")
junction = needs("junction_requirements")
archive = needs("archive_requirements")
book = needs("book_requirements") + train + junction + archive
evaluation = needs("evaluation_requirements")
dev = needs("dev_requirements") + book

setup(
    name=cfg["lib_name"],
    version=cfg["version"],
    description=cfg["description"],
    long_description=readme(),
    long_description_content_type="text/markdown",
    author=cfg["author"],
    url=cfg["git_url"],
    keywords=cfg["keywords"],
    license="Apache-2.0",
    packages=find_packages(include=["sirenbook", "sirenbook.*"]),
    include_package_data=True,
    package_data={"sirenbook": ["*.csv", "*.net.xml", "weights/*", "weights/clean/*"]},
    python_requires=f">={cfg['min_python']}",
    install_requires=needs("requirements"),
    extras_require={"train": train, "book": book, "dev": dev, "evaluation": evaluation,
                    "listen": needs("listen_requirements"), "junction": junction,
                    "archive": archive},
    entry_points={
        "console_scripts": needs("console_scripts"),
        "nbdev": [f"{cfg['lib_name']}={cfg['lib_path']}._modidx:d"],
    },
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Developers",
        "Intended Audience :: Education",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Multimedia :: Sound/Audio :: Analysis",
    ],
)
