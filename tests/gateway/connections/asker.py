"""A process of its own that asks for a token many times at once: `python -m tests.gateway.connections.asker …`.

argv    JSON: database_url, sealing_key, tenant_id, connection_id, callers, lease_s
stdin   a line, when all processes are ready
stdout  "ready", then JSON: the SHA-256 of each token that was handed out
"""

import asyncio
import hashlib
import json
import sys
from datetime import timedelta
from typing import Any

from pydantic import SecretStr

from gateway.connections.providers import Providers
from gateway.connections.tokens import Tokens
from gateway.db.base import TenantId
from gateway.db.engine import Database
from gateway.settings import Settings
from gateway.tenants.keys import Keyring, load_keks


async def main(order: dict[str, Any]) -> None:
    settings = Settings(database_url=order["database_url"], sealing_keys=(SecretStr(order["sealing_key"]),))
    db = Database(settings.database_url)
    tokens = Tokens(
        db=db,
        keyring=Keyring(db, load_keks(settings)),
        providers=Providers(),
        lease=timedelta(seconds=order["lease_s"]),
    )
    tenant_id, connection_id = TenantId(order["tenant_id"]), order["connection_id"]
    async with db.reading():
        print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    found = await asyncio.gather(*(tokens.token(tenant_id, connection_id) for _ in range(order["callers"])))
    print(json.dumps([hashlib.sha256(token.encode()).hexdigest() for token in found]), flush=True)
    await db.close()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
