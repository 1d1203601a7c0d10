"""A simulated Pipedrive: its OAuth, its API in v1 and v2, its token costs, its search that lags, its webhooks.

`create_app` gives an ASGI application; Pipedrive's clients work against it unchanged.
"""

from connectors.sandbox.pipedrive.app import Pipedrive, create_app
from connectors.sandbox.pipedrive.company import Company, User
from connectors.sandbox.pipedrive.demo import demo_app, shown

__all__ = ["Company", "Pipedrive", "User", "create_app", "demo_app", "shown"]
