"""A simulated Salesforce: its OAuth, its REST API with SOQL, SOSL, composite and bulk query jobs, its errors and its traps.

`create_app` gives an ASGI application; simple-salesforce works against it unchanged.
"""

from connectors.sandbox.salesforce.app import Salesforce, create_app
from connectors.sandbox.salesforce.demo import demo_app, shown
from connectors.sandbox.salesforce.org import Org

__all__ = ["Org", "Salesforce", "create_app", "demo_app", "shown"]
