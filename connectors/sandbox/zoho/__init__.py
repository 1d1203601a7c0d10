"""A simulated Zoho CRM: its sign-in, its API of version 8, its query language, its errors and its traps.

`create_app` gives an ASGI application; Zoho's own client works against it unchanged.
"""

from connectors.sandbox.zoho.app import Zoho, create_app
from connectors.sandbox.zoho.demo import demo_app, shown
from connectors.sandbox.zoho.org import Org

__all__ = ["Org", "Zoho", "create_app", "demo_app", "shown"]
