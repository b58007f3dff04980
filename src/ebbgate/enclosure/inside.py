"""What happens on the other side of the fork: namespaces, network, covers, proof, and the command.

Runs in the shim, the init and the command's process before exec. It never returns to the caller of ``fork``: whatever
goes wrong is reported to the warden as a message and ends the process, so nothing runs unsealed.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Never  # Any: messages of host.channel

from ebbgate.enclosure import platform_limits, selftest
from ebbgate.errors import EbbgateError, IntegrityError
from ebbgate.host import channel, installation, kernel, links, masks, netlink, nftables, seccomp, streams, trust
from ebbgate.host.doors import Doors

_NAMESPACES = os.CLONE_NEWUSER | os.CLONE_NEWNET | os.CLONE_NEWNS | os.CLONE_NEWIPC | os.CLONE_NEWPID
_BACKLOG = 1024
_RESOLV_CONF = "/etc/resolv.conf"
NOT_EXECUTABLE, NOT_FOUND = 126, 127  # exit codes of a shell, POSIX XCU 2.8.2


class Inside:
    """State carried from the shim to the command; fields are plain so that fork copies them."""

    def __init__(
        self,
        argv: tuple[str, ...],
        environ: Mapping[str, str],
        doors: Doors,
        warden_channel: socket.socket,
        nft: str,
        ip: str,
        warden: int,
        name: str,
    ) -> None:
        self._argv, self._environ, self._doors, self._name = argv, dict(environ), doors, name
        self._channel, self._nft, self._ip, self._warden = warden_channel, nft, ip, warden
        self._uid, self._gid = os.geteuid(), os.getegid()
        self._root = self._uid == 0
        self._capabilities, self._bounding = kernel.effective_capabilities(), kernel.bounding_capabilities()
        self._interrupt = signal.getsignal(signal.SIGINT)
        self._directory = masks.working_directory()
        self._listening: dict[str, socket.socket] = {}

    # --- shim ---------------------------------------------------------------------------------------------------

    def enter(self) -> Never:
        """Run in the forked child; never returns."""
        try:
            self._unshare()
            self._send({"type": "unshared", "root": self._root})
            self._await("mapped")
            self._die_with(self._warden)
            init = os.fork()
        except BaseException as problem:
            self._fail(problem)
        if init == 0:
            self._run_init()
        self._ignore_terminal()
        self._channel.close()
        _, status = os.waitpid(init, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)

    def _unshare(self) -> None:
        try:
            os.unshare(_NAMESPACES)
        except OSError as problem:
            raise platform_limits.namespaces_refused(problem) from None

    def _die_with(self, parent: int) -> None:
        kernel.die_with_parent(signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    def _ignore_terminal(self) -> None:
        """Ctrl-C and Ctrl-\\ are for the command; shim and init only wait for it."""
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)

    # --- init ---------------------------------------------------------------------------------------------------

    def _run_init(self) -> Never:
        try:
            kernel.die_with_parent(signal.SIGKILL)
            self._send({"type": "init"})
            self._build()
            self._send_sockets()
            release = self._await("release")
            self._lay_trust(release)
            selftest.prove(str(release["nonce"]))
            self._environ.update(release["variables"])
            command = self._fork_command()
            self._ignore_terminal()
            self._send({"type": "running"})
        except BaseException as problem:
            self._fail(problem)
        self._wait_for(command)

    def _build(self) -> None:
        """Network, rules, sockets, covers: in this order, since the covers hide what the first need."""
        try:
            masks.make_private()
            masks.fresh_proc()
            kernel.keep_capabilities_over_exec(kernel.CAP_NET_ADMIN, kernel.CAP_NET_RAW)
            links.bring_up(ip=self._ip)
            self._allow_pings()
            self._listen()
            resolver = os.path.realpath(_RESOLV_CONF)
            ruleset = nftables.sealed_ruleset(self._ports(), redirect_loopback_dns=not os.path.exists(resolver))
            nftables.apply(ruleset, nft=self._nft)
            masks.protect(installation.protected_paths(), *installation.standard_library())
            masks.cover(self._doors, uid=self._uid, gid=self._gid, as_root=self._root)
            masks.resolver_configuration(self._nameservers(), resolver)
            masks.name_sources()
            masks.enter_again(self._directory, self._doors.directories)
        except OSError as problem:
            raise platform_limits.step_refused(problem) from None

    def _nameservers(self) -> tuple[str, ...]:
        return (links.GATEWAY_V4,)

    def _allow_pings(self) -> None:
        """Let ping open its socket, so that the attempt is seen and refused; and root bind low ports as it can outside."""
        Path("/proc/sys/net/ipv4/ping_group_range").write_text(f"{self._gid} {self._gid}")
        if self._root:
            Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").write_text("0")

    def _listen(self) -> None:
        tcp, udp = socket.SOCK_STREAM, socket.SOCK_DGRAM
        for name, kind in (("tcp", tcp), ("dns", udp), ("dnstcp", tcp)):
            first = _bound(socket.AF_INET, kind, "127.0.0.1", 0)
            self._listening[name + "4"] = first
            if links.has_ipv6():
                self._listening[name + "6"] = _bound(socket.AF_INET6, kind, "::1", first.getsockname()[1])
        self._listening["packets"] = netlink.packet_log_socket(nftables.PACKET_GROUP, nftables.SNAPLEN)
        self._listening["diagnostics"] = netlink.diagnostic_socket()

    def _ports(self) -> nftables.SealedPorts:
        port = {name: self._listening[name + "4"].getsockname()[1] for name in ("tcp", "dns", "dnstcp")}
        return nftables.SealedPorts(port["tcp"], port["dns"], port["dnstcp"])

    def _send_sockets(self) -> None:
        order = ("tcp4", "tcp6", "dns4", "dns6", "dnstcp4", "dnstcp6", "packets", "diagnostics")
        names = [name for name in order if name in self._listening]
        channel.send_sockets(self._channel, {"type": "sockets", "names": names}, [self._listening[name] for name in names])
        for one in self._listening.values():
            one.close()

    def _lay_trust(self, release: dict[str, Any]) -> None:
        files = {name: channel.receive_bytes(self._channel) or b"" for name in release["files"]}
        paths = {name: masks.guard_file(name, content) for name, content in files.items()}
        kinds = {"bundle": "ca-bundle.pem", "java": "truststore.p12"}
        for target, kind in trust.overlays():
            kernel.mount(paths[kinds[kind]], target, "", kernel.MS_BIND)

    def _fork_command(self) -> int:
        ready_read, ready_write = os.pipe()
        mapped_read, mapped_write = os.pipe()
        command = os.fork()
        if command == 0:
            os.close(ready_read)
            os.close(mapped_write)
            self._become_command(ready_write, mapped_read)
        os.close(ready_write)
        os.close(mapped_read)
        if os.read(ready_read, 1) != b"u":
            raise IntegrityError("the command's own namespace could not be made")
        self._map_command(command)
        os.write(mapped_write, b"m")
        os.close(mapped_write)
        if os.read(ready_read, 1) != b"s":
            raise IntegrityError("the command could not be confined")
        os.close(ready_read)
        return command

    def _map_command(self, command: int) -> None:
        from ebbgate.enclosure.sealed import write_id_maps  # noqa: PLC0415 - sealed imports this module

        write_id_maps(command, whole=self._root)

    def _wait_for(self, command: int) -> Never:
        """Reap everything until the command itself has ended; then end, and everything inside with us."""
        code = 1
        while True:
            try:
                pid, status = os.wait()
            except ChildProcessError:
                break
            except InterruptedError:
                continue
            if pid == command:
                ended = os.waitstatus_to_exitcode(status)
                code = ended if ended >= 0 else 128 - ended
                break
        try:
            self._send({"type": "ended", "code": code})
        finally:
            os._exit(0)

    # --- command ------------------------------------------------------------------------------------------------

    def _become_command(self, ready: int, mapped: int) -> Never:
        try:
            os.unshare(os.CLONE_NEWUSER | os.CLONE_NEWNS)
            os.write(ready, b"u")
            if os.read(mapped, 1) != b"m":
                os._exit(NOT_EXECUTABLE)
            kernel.die_with_parent(signal.SIGKILL)
            self._confine()
            self._send({"type": "command"})
            os.write(ready, b"s")
        except BaseException as problem:
            self._fail(problem)
        self._execute()

    def _confine(self) -> None:
        if not self._root:
            kernel.no_new_privileges()
        kernel.install_seccomp(seccomp.program())
        kernel.limit_capabilities(self._capabilities, self._bounding)
        handler = signal.SIG_IGN if self._interrupt == signal.SIG_IGN else signal.SIG_DFL
        signal.signal(signal.SIGINT, handler)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores these at its own start
            signal.signal(number, signal.SIG_DFL)

    def _execute(self) -> Never:
        streams.close_all_others()
        try:
            os.execvpe(self._argv[0], self._argv, self._environ)  # noqa: S606 - running the user's command is the job
        except FileNotFoundError:
            code, why = NOT_FOUND, "not found"
        except OSError as problem:
            code, why = NOT_EXECUTABLE, os.strerror(problem.errno or 0)
        os.write(2, f"ebbgate: {self._name}: {why}\n".encode(errors="replace"))
        os._exit(code)

    # --- all ----------------------------------------------------------------------------------------------------

    def _send(self, message: dict[str, Any]) -> None:
        self._channel.sendall(channel.encode(message))

    def _await(self, wanted: str) -> dict[str, Any]:
        message = channel.receive(self._channel)
        if message is None or message.get("type") != wanted:
            os._exit(1)
        return message

    def _fail(self, problem: BaseException) -> Never:
        """Tell the warden why and end. Texts are our own or the kernel's; neither holds a secret."""
        known = isinstance(problem, EbbgateError)
        message = {
            "type": "failed",
            "title": problem.title if isinstance(problem, EbbgateError) else "the enclosure could not be built",
            "cause": problem.cause if isinstance(problem, EbbgateError) else f"{type(problem).__name__}: {problem}"[:300],
            "next_step": problem.next_step if isinstance(problem, EbbgateError) else "",
            "integrity": isinstance(problem, IntegrityError) or not known,
        }
        try:
            self._channel.sendall(channel.frame(json.dumps(message).encode()))
        finally:
            sys.stderr.flush()
            os._exit(1)


def _bound(family: int, kind: int, address: str, port: int) -> socket.socket:
    opened = socket.socket(family, kind | socket.SOCK_CLOEXEC)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    opened.bind((address, port))
    if kind == socket.SOCK_STREAM:
        opened.listen(_BACKLOG)
    return opened
