"""A process that has imported everything, and forks one child for each command of bnrun.

    python tests/command_server.py LISTENER_FD

Importing torch and matplotlib takes a second or two; a fork takes 20 ms. The server imports them
when its first client connects. It computes nothing, so that it has a single thread, which a fork
may copy. Each client, a process of pytest-xdist, is served by a fork of the server. `CommandServer`
in commands.py sends one request at a time: a line of JSON, and the files that become the child's
stdin, stdout and stderr. The answers are the child's process id, then its exit status, negative
where a signal ended it. The server ends when its stdin is closed.

A child is what `python -m bnrun ARGUMENTS` would be: `__main__`, `sys.argv`, the folder, the
environment and the dispositions of signals are its own, and so is its session. Three things differ.
Environment variables that are read while a module is imported keep the server's values. The modules
are not torn down at the end, which would take another half of a second. And worker processes, which
multiprocessing forks from a "fork server" of each command (another import of torch), are forked
from one that all commands share; it has this server's session and environment.
"""

import atexit
import contextlib
import functools
import gc
import importlib
import json
import multiprocessing.connection
import multiprocessing.process
import os
import pkgutil
import runpy
import select
import signal
import socket
import sys
import threading
import traceback
import weakref
from multiprocessing import forkserver, resource_tracker
from typing import Any

CAN_SHARE_WORKERS = sys.version_info < (3, 14)  # later, clients of a fork server need a key
STANDARD_STREAMS = 3
LATER = {
    *("torch", "matplotlib.figure"),  # bnrun imports them inside functions
    "torch.fx.experimental.symbolic_shapes",  # torch imports it in the first backward pass: 0.3 s
}
NOT_IMPORTED = {"bnrun.__main__"}  # `runpy` runs it


def main() -> None:
    """Fork a process for each client that connects."""
    listener = socket.socket(fileno=int(sys.argv[1]))
    while listener in select.select([listener, sys.stdin], [], [])[0]:
        client, _ = listener.accept()
        if "torch" not in sys.modules:
            _import_everything()
        if os.fork() == 0:
            listener.close()
            _serve(client)
            os._exit(0)
        client.close()


def _serve(server: socket.socket) -> None:
    """Serve requests until the other end of the socket is closed."""
    workers = _fork_worker_server(server)
    share_workers(*workers)
    with contextlib.suppress(BrokenPipeError):  # the tests have ended meanwhile
        socket.send_fds(server, [workers[0].encode()], [workers[1]])
    while request := _receive(server):
        pid = os.fork()
        if pid == 0:
            server.close()
            os._exit(_run(*request))
        for stream in request[1]:
            os.close(stream)
        server.sendall(b"%d\n" % pid)
        server.sendall(b"%d\n" % _wait(pid, server))


def _import_everything() -> None:
    """Import what the commands import, out of the garbage collector's way."""
    gc.disable()  # it would visit all that is imported, again and again
    import bnrun

    names = {module.name for module in pkgutil.walk_packages(bnrun.__path__, "bnrun.")}
    for name in sorted(names - NOT_IMPORTED | LATER):
        importlib.import_module(name)
    _make_commands_once()
    for finalizer in weakref.finalize._registry:
        finalizer.atexit = False  # torch's: unregistering its operators takes 25 ms at each exit
    gc.freeze()  # else each child would copy the memory that its collector visits
    gc.enable()


def _make_commands_once() -> None:
    """Have typer make the commands from their functions here; it takes 20 ms in each child."""
    import typer

    from bnrun.cli import app

    typer.main.get_command = functools.cache(typer.main.get_command)
    typer.main.get_command(app)


def _fork_worker_server(server: socket.socket) -> tuple[str, int]:
    """Fork a process that runs multiprocessing's fork server, with everything imported.

    Returns:
        its address, and a file which lets it run on for as long as some process has it open.
    """
    resource_tracker.ensure_running()  # one for all
    with socket.socket(socket.AF_UNIX) as listener:
        address = multiprocessing.connection.arbitrary_address("AF_UNIX")
        listener.bind(address)
        listener.listen()
        alive_read, alive_write = os.pipe()
        if os.fork() == 0:
            server.close()
            os.close(alive_write)
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # as `bnrun.workers` does
            with contextlib.suppress(SystemExit):
                forkserver.main(listener.fileno(), alive_read, [])
            os._exit(0)
        os.close(alive_read)
    return address, alive_write


def share_workers(address: str, alive: int) -> None:
    """Have multiprocessing fork this process's workers from that server, not from a new one."""
    if not CAN_SHARE_WORKERS:
        return
    server = forkserver._forkserver
    server._forkserver_address, server._forkserver_alive_fd = address, alive
    server.ensure_running = resource_tracker.ensure_running


def _receive(server: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """Return the next request and its open files, or None at the end."""
    data, streams, _, _ = socket.recv_fds(server, 1 << 16, STANDARD_STREAMS)
    while data and not data.endswith(b"\n"):
        data += server.recv(1 << 16)
    return (json.loads(data), streams) if data else None


def _wait(pid: int, server: socket.socket) -> int:
    """Return how a child ended; where the tests end before it, so does it."""
    child = os.pidfd_open(pid)
    ready, _, _ = select.select([child, server], [], [])
    if child not in ready:
        os.killpg(pid, signal.SIGKILL)
    os.close(child)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _run(request: dict[str, Any], streams: list[int]) -> int:
    """Run one command in this process, and return its exit status as an interpreter would."""
    status = 1
    try:
        _become(request, streams)
        exec(request["before"], {"__name__": "before"})
        runpy.run_module("bnrun", run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as exit_:
        status = _status(exit_.code)
    except KeyboardInterrupt:
        traceback.print_exc()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:
        traceback.print_exc()
    threading._shutdown()  # waits for threads that are no daemons
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    return status


def _become(request: dict[str, Any], streams: list[int]) -> None:
    """Give this process the session, files, folder and environment of the command."""
    os.setsid()
    for target, stream in enumerate(streams):
        os.dup2(stream, target)
        os.close(stream)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        old = getattr(sys, name)  # the interpreter chose its encoding for this locale
        new = os.fdopen(
            number,
            old.mode,
            buffering=1 if name == "stderr" else -1,
            encoding=old.encoding,
            errors=old.errors,
        )
        setattr(sys, name, new)
    ignored = request["ignore_sigint"]
    signal.signal(signal.SIGINT, signal.SIG_IGN if ignored else signal.default_int_handler)
    sys.path[0] = multiprocessing.process.ORIGINAL_DIR = request["folder"]
    sys.argv = ["bnrun", *request["arguments"]]


def _status(code: object) -> int:
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    sys.stderr.write(f"{code}\n")
    return 1


if __name__ == "__main__":
    main()
