"""`fastvit` as a system without POSIX would run it: what Windows lacks is hidden first, in worker processes too.

python tests/systems/without_posix.py train --data demo …
"""

import asyncio  # noqa: F401 - on any system not called Windows it asks for `sysconf` (Python 3.12)
import multiprocessing
import os
import signal
import sys

MODULES = ("fcntl", "grp", "pwd", "resource", "termios", "tty", "pty", "syslog", "posix_ipc")
# But for `uname`, `register_at_fork` and SIGCHLD, which torch asks a system for that is not called Windows.
OF_OS = (
    *("fork", "forkpty", "getuid", "geteuid", "getgid", "getegid", "getpgid", "getpgrp", "killpg", "setsid"),
    *("sysconf", "sched_getaffinity", "getloadavg", "mkfifo", "chown", "nice"),
)
OF_SIGNAL = (
    *("SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGPIPE"),
    *("alarm", "setitimer", "pthread_sigmask", "pthread_kill", "sigwait"),
)

os.environ.setdefault("USERNAME", "someone")  # of every user on Windows, where `getpass` needs no `pwd` then
for name in MODULES:
    sys.modules[name] = None  # type: ignore[assignment]  # so Python marks a module that cannot be imported
for module, names in ((os, OF_OS), (signal, OF_SIGNAL)):
    for name in names:
        if hasattr(module, name):
            delattr(module, name)

if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    from fastvit_cli.app import main

    code = main()
    reached = [name for name in (*OF_OS, *OF_SIGNAL) if hasattr(os, name) or hasattr(signal, name)]
    assert reached == [], "a library has put them back"
    sys.exit(code)
