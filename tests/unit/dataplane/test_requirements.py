"""What a file needs of nginx stands at its head, and is compared number by number."""

import pytest

from tests.support.configurations import configuration
from tests.support.dynamic import shell_of
from wsroute.dataplane.requirements import DYNAMIC, HEAD, STATIC, Requirements, read_requirements, shortfall
from wsroute.nginx.paths import POD_PATHS
from wsroute.nginx.render import render


@pytest.mark.parametrize("needed", [STATIC, DYNAMIC, Requirements("2")])
def test_the_comment_is_read_as_it_was_written(needed: Requirements) -> None:
    assert read_requirements(f"# nginx.conf\n#\n# It needs {needed}.\n# More.\n\nhttp {{}}\n") == needed


def test_every_file_says_what_its_data_plane_needs() -> None:
    assert read_requirements(render(configuration(), POD_PATHS).text[:HEAD]) == STATIC
    assert read_requirements(render(shell_of(configuration()), POD_PATHS).text[:HEAD]) == DYNAMIC


@pytest.mark.parametrize(
    "text",
    [
        "",
        "http {}\n",
        f"http {{}}\n# It needs {DYNAMIC}.\n",
        "# It needs nginx or newer.\n",
        "# It needs nginx 1.2.x or newer.\n",
        f"# It needs nginx {'9' * 6} or newer.\n",
        "# It needs nginx 1.٢ or newer.\n",
        "# It needs nginx 1.22 or newer, with njs or newer.\n",
    ],
)
def test_what_says_nothing_needs_nothing(text: str) -> None:
    assert read_requirements(text) is None


@pytest.mark.parametrize(
    ("nginx", "njs"),
    [("1.27.4", "0.9.1"), ("1.31.3", "0.9.9"), ("1.30.6", "1.0.2"), ("2", "1"), ("", "0.10"), ("1.28", ""), ("", "")],
)
def test_what_is_new_enough_or_not_known_will_do(nginx: str, njs: str) -> None:
    assert shortfall(DYNAMIC, nginx=nginx, njs=njs) == ""


@pytest.mark.parametrize(
    ("nginx", "njs", "words"),
    [
        ("1.27.3", "0.9.9", "nginx is 1.27.3, and 1.27.4 or newer is needed."),
        ("1.9.15", "1.0.2", "nginx is 1.9.15, and 1.27.4"),
        ("1.31.3", "0.8.10", "njs is 0.8.10, and 0.9.1 or newer is needed."),
        ("1.31.3", "0", "njs is missing, or older than 0.8.1, and 0.9.1 or newer is needed."),
        ("1.26.3", "0.8.9", "nginx is 1.26.3, and 1.27.4 or newer is needed; njs is 0.8.9, and 0.9.1 or newer"),
    ],
)
def test_what_is_too_old_is_told_with_what_is_needed(nginx: str, njs: str, words: str) -> None:
    assert words in shortfall(DYNAMIC, nginx=nginx, njs=njs)


def test_the_static_data_plane_needs_no_njs() -> None:
    assert shortfall(STATIC, nginx="1.22.0", njs="0") == ""
    assert "nginx is 1.18.0" in shortfall(STATIC, nginx="1.18.0", njs="0")
