"""The custom main template that users are shown."""

from pathlib import Path

import yaml

EXAMPLE_FILE = Path(__file__).parents[2] / "examples/custom-template/custom-main.yaml"


def example_template() -> str:
    """Its text, as the ConfigMap holds it."""
    text: str = yaml.safe_load(EXAMPLE_FILE.read_text(encoding="utf-8"))["data"]["nginx.conf.j2"]
    return text
