"""Runs one command and ends it when whoever started it is gone, however that one went (Ctrl-C, SIGKILL, a crash).

The starter holds the writing end of a pipe on our standard input. Closed after the word "stop", the command is ended
and its folders stay; closed without a word, the starter is gone, and the folders go too. A parent-death signal would
do on Linux alone, would forget the folders, and would fire with the thread that started the command.
Python's standard library only: with `python -I -S` it starts in some 20 ms.

    argv[1]  JSON: command, cwd, env, log (file for its output), user ("uid:gid" or null), stop (signal number),
             patience_s (from `stop` to SIGKILL), remove (folders)
    stdout   one line, the command's process id
    exit     as the command did; 128 + n when signal n ended it
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from typing import Any


def main(order: dict[str, Any]) -> int:
    """Run the ordered command to its end, or until our standard input is closed."""
    uid, gid = (int(part) for part in order["user"].split(":")) if order["user"] else (None, None)
    with open(order["log"], "ab") as log:
        child = subprocess.Popen(
            order["command"],
            cwd=order["cwd"],
            env=order["env"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            user=uid,
            group=gid,
            extra_groups=[] if uid is not None else None,
            start_new_session=True,
        )
    print(child.pid, flush=True)
    ending = threading.Event()
    watch = threading.Thread(target=_watch, args=(child, order, ending), daemon=True)
    watch.start()
    code = child.wait()
    if ending.is_set():
        watch.join()  # where the starter is gone, the folders are still to be removed
    return code if code >= 0 else 128 - code


def _watch(child: "subprocess.Popen[bytes]", order: dict[str, Any], ending: threading.Event) -> None:
    heard = b""
    while word := os.read(0, 64):
        heard += word
    ending.set()
    child.send_signal(order["stop"])  # does nothing to a child that has been waited for
    try:
        child.wait(order["patience_s"])
    except subprocess.TimeoutExpired:
        child.kill()
    if heard != b"stop":
        for folder in order["remove"]:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is the starter's to answer; we hear of it by the pipe
    sys.exit(main(json.loads(sys.argv[1])))
