"""Opens listening sockets as a service manager does, and starts a program with them each time that it has ended.

    service_manager.py [--reuse-port] ADDRESS:PORT[=NAME]... -- PROGRAM WORD...
"""

import os
import signal
import socket
import sys

FIRST = 3


def listen(where, reuse_port):
    address, port = where.rsplit(":", 1)
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if reuse_port:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((address, int(port)))
    listener.listen(128)
    return listener


def start(listeners, names, words):
    child = os.fork()
    if child:
        return child
    # Away from where they are to be, so that none is overwritten by another.
    high = [os.dup2(listener.fileno(), 100 + at) for at, listener in enumerate(listeners)]
    for at, number in enumerate(high):
        os.dup2(number, FIRST + at)
        os.close(number)
    os.environ["LISTEN_PID"] = str(os.getpid())
    os.environ["LISTEN_FDS"] = str(len(listeners))
    os.environ["LISTEN_FDNAMES"] = ":".join(names)
    os.execvp(words[0], words)


def main():
    split = sys.argv.index("--")
    places, words = sys.argv[1:split], sys.argv[split + 1 :]
    reuse_port = "--reuse-port" in places
    places = [place for place in places if place != "--reuse-port"]
    named = [place.partition("=") for place in places]
    listeners = [listen(where, reuse_port) for where, _, _ in named]
    names = [name or "unknown" for _, _, name in named]
    while True:
        child = start(listeners, names, words)
        signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM) or sys.exit(0))
        _, status = os.waitpid(child, 0)
        if status != 0:
            sys.exit(os.waitstatus_to_exitcode(status))


main()
