"""The main job on one command: a story told through the product's own doors, on a sandbox."""

from gateway.demo.acts import run
from gateway.demo.callers import STORIES
from gateway.demo.stage import DemoFailed

__all__ = ["STORIES", "DemoFailed", "run"]
