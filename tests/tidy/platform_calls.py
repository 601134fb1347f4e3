#!/usr/bin/env python3
"""What one operating system alone has is called in its platform files, and nowhere else.

usage: platform_calls.py SOURCE_FOLDER

A call is found by its name in C and C++ sources, comments and texts aside. Each file below is one
that may have such calls, with the reason; one that has none any more must go from the list.
"""

import pathlib
import re
import sys

PLATFORM_FILES = {
    "engine/src/platform_posix.cpp": "the engine's",
    "engine/src/platform_windows.cpp": "the engine's",
    "sync/src/sockets_posix.cpp": "sync's",
    "sync/src/sockets_windows.cpp": "sync's",
    "bindings/cli/platform_posix.cpp": "the program's",
    "bindings/cli/throwaway_postgres.cpp": "a server of the demo's: its user, process and socket",
    "tests/support/system_posix.cpp": "the tests'",
    "tests/support/system_windows.cpp": "the tests'",
    "tests/support/proxy.cpp": "between libpq and a server on a Unix socket",
    "tests/sync/pgbouncer_test.cpp": "starts a PgBouncer, which is no Windows program of Debian's",
    "tests/sync/server_test.cpp": "kills a server's processes",
    "tests/sync/tls_test.cpp": "asks for a free port; keys that are their owner's alone",
    "tests/canonical/sql_checks_test.cpp": "runs pgTAP's script",
    "tests/c/engine_test.cpp": "forks, as a C program on POSIX may",
    "tests/c/sync_test.cpp": "a host's own loop, around poll()",
    "bindings/node/bench_c.c": "benchmarks run on POSIX systems alone",
    "bench/child.hpp": "benchmarks run on POSIX systems alone",
    "bench/disk.hpp": "benchmarks run on POSIX systems alone",
    "bench/durable.cpp": "benchmarks run on POSIX systems alone",
    "bench/processors.hpp": "benchmarks run on POSIX systems alone",
    "bench/results.cpp": "benchmarks run on POSIX systems alone",
    "bench/support.hpp": "benchmarks run on POSIX systems alone",
}

HEADERS = re.compile(
    r"^\s*#\s*include\s*<((?:sys|netinet|arpa|net|linux|mach)/[^>]*|"
    r"(?:unistd|fcntl|poll|pthread|sched|semaphore|signal|csignal|dlfcn|netdb|pwd|grp|dirent|"
    r"termios|spawn|glob|fnmatch|ftw|langinfo|syslog|strings|libgen|"
    r"windows|winsock2|ws2tcpip|aclapi|sddl|bcrypt|io|process|direct)(?:\.h)?)>", re.M)

# Not preceded by `.`, `->` or a namespace other than the global one or std: those are ours.
CALLS = re.compile(
    r"(?<![\w.>:])(?:::|std::)?("
    r"getpid|getppid|gettid|fork|vfork|execl[ep]?|execv[ep]?|posix_spawn\w*|waitpid|wait4|kill|"
    r"killpg|raise|setsid|setpgid|daemon|umask|get[ef]?[ug]id|set[er]?[ug]id|chown|chmod|fchmod|"
    r"mmap|munmap|mprotect|msync|madvise|mlock|shm_open|sem_open|ftruncate|fsync|fdatasync|flock|"
    r"lockf|fcntl|pipe2?|dup[23]?|pread|pwrite|readv|writev|lseek|fileno|isatty|ioctl|popen|pclose|"
    r"poll|ppoll|select|epoll_\w+|kqueue|socketpair|accept4?|sigaction|signal|sigprocmask|"
    r"pthread_\w+|syscall|getrandom|getentropy|arc4random\w*|usleep|nanosleep|clock_gettime|"
    r"gettimeofday|localtime_r|gmtime_r|timegm|strptime|strerror_r|strtok_r|strcasecmp|strncasecmp|"
    r"strsignal|setenv|unsetenv|mkdtemp|mkstemp|realpath|readlink|symlink|opendir|readdir|sysconf|"
    r"getrlimit|setrlimit|getrusage|uname|gethostname|getpwuid\w*|getpwnam\w*|dlopen|dlsym|memmem)"
    r"\s*\(")

FOLDERS = ("engine", "sync", "bindings", "tests", "bench")
SUFFIXES = {".c", ".cc", ".cpp", ".h", ".hpp"}

# One pass, so that a quote in a comment and a comment in a text are what they are.
ASIDE = re.compile(r'//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"'
                   r"|(?<!\w)'(?:\\.|[^'\\\n])+'", re.S)


def found_in(text):
    """Pairs of a line's number and what is there."""
    bare = ASIDE.sub(lambda match: "\n" * match.group().count("\n") or " ", text)
    found = [(bare.count("\n", 0, match.start(1)) + 1, match.group(1))
             for pattern in (HEADERS, CALLS) for match in pattern.finditer(bare)]
    return sorted(found)


def check_itself():
    """That what must be found is, and what must not be is not: else a clean answer says nothing."""
    for guilty in ("#include <unistd.h>", "#include <sys/stat.h>", "#include <windows.h>",
                   "  poll(&socket, 1, 0);", "x = ::getpid();", "return std::signal(a, b);"):
        assert found_in(guilty), guilty
    for innocent in ("// poll(&socket)", 'f("kill(1)");', "process.kill();", "Engine::fork();",
                     "it->select(1);", "kill_now();", "#include <string>", "int socket = 1;",
                     "1'000 + poll_interval; // isn't fork()"):
        assert not found_in(innocent), innocent


def main():
    root = pathlib.Path(sys.argv[1])
    check_itself()
    wrong = []
    seen = 0
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            name = path.relative_to(root).as_posix()
            if path.suffix not in SUFFIXES or "node_modules" in path.parts:
                continue
            seen += 1
            found = found_in(path.read_text(encoding="utf-8"))
            if name in PLATFORM_FILES:
                if not found:
                    wrong.append(f"{name}: is listed as a platform file, and has no such call")
                continue
            wrong += [f"{name}:{line}: {what}" for line, what in found]
    wrong += [f"{name}: is listed as a platform file, and is not there"
              for name in PLATFORM_FILES if not (root / name).exists()]
    assert seen > 100, f"only {seen} sources in {root}"
    if wrong:
        print("Not on every system, and outside the platform files:", *wrong, sep="\n")
        return 1
    print(f"{seen} sources; such calls are in the {len(PLATFORM_FILES)} platform files alone")
    return 0


if __name__ == "__main__":
    sys.exit(main())
