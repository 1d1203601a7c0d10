"""A simulated HubSpot: its OAuth, its API in the dated and the v3 paths, its errors and its traps.

`create_app` gives an ASGI application; HubSpot's official clients work against it unchanged.
"""

from connectors.sandbox.hubspot.app import HubSpot, create_app
from connectors.sandbox.hubspot.demo import demo_app, shown
from connectors.sandbox.hubspot.portal import Pipeline, Portal, Stage, StaticList

__all__ = ["HubSpot", "Pipeline", "Portal", "Stage", "StaticList", "create_app", "demo_app", "shown"]
