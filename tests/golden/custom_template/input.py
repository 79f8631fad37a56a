"""The main template of examples/custom-template in place of the shipped one."""

from tests.support.configurations import configuration
from tests.support.templates import example_template

CONFIGURATION = configuration(main_template=example_template())
