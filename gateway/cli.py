"""`gateway`: every command, and how errors end. What commands do is in `gateway/commands/`, a file each.

Whatever is heavy is imported by the command that needs it: help, and a typing mistake, answer at once.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence

import typer

from gateway.commands import connections, deliveries, demo, doctor, endpoints, imports, keys, serve, tenants
from gateway.commands.terminal import Failed, clean, complain

app = typer.Typer(
    name="gateway",
    help="Between voice AI and CRMs: who is calling, answered while it rings; what happened, written once.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

for command in (
    demo.demo,
    serve.serve,
    serve.worker,
    serve.relay,
    serve.migrate,
    serve.sandbox,
    doctor.doctor,
    tenants.console,
):
    app.command()(command)
app.command("import")(imports.import_)
for group in (tenants.commands, keys.commands, connections.commands, deliveries.commands, endpoints.commands):
    app.add_typer(group)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code: 0, 1 when it could not be done, 2 when it was asked or configured wrongly."""
    gc.set_threshold(50_000, 50, 50)  # modules stay: looking through them while they load is a tenth of a start
    try:
        done = app(
            args=list(sys.argv[1:] if arguments is None else arguments), prog_name="gateway", standalone_mode=False
        )
    except typer.TyperException as wrong:  # asked wrongly
        if told_what := wrong.format_message():  # none after the help that stands in for a missing command
            complain(told_what)
        return wrong.exit_code
    except (typer.Abort, KeyboardInterrupt):
        return 130
    except Exception as error:
        line, code = told(error)
        complain(line)
        return code
    return done if isinstance(done, int) else 0


def told(error: Exception) -> tuple[str, int]:
    """One line about `error`, and the exit code. Texts of libraries are not shown: they hold addresses and values."""
    if isinstance(error, Failed):
        return str(error), error.code
    from sqlalchemy.exc import SQLAlchemyError

    from gateway import logs
    from gateway.crypto import BadSealingKey, CannotOpen
    from gateway.schema import WrongRevision
    from gateway.tenants.principal import UnknownScope
    from gateway.tenants.queries import NoSuchTenant

    match error:
        case BadSealingKey() | CannotOpen() | UnknownScope():
            return str(error), 2
        case WrongRevision() | NoSuchTenant():
            return str(error), 1
        case SQLAlchemyError() | ConnectionError() | TimeoutError():
            return f"the database does not answer ({type(error).__name__}); `gateway doctor` looks closer", 1
        case _:
            return clean(f"{type(error).__name__} at {logs.place_of(error) or 'start'}: please report this"), 1
