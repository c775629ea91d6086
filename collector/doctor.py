"""What a collector needs of this machine: stores that it may read, watches, the kernel, the clock, and room for its state."""

from __future__ import annotations

import ctypes
import errno
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from collector.live import read_status
from collector.spool_reader import SpoolReader
from collector.stores import Found, driver_for, find_stores, looked_at
from collector.stores.protocol import WatchPlan
from collector.watch.limits import Budget, read_limits
from collector.watch.probe import FANOTIFY, INOTIFY, probe
from linktrail.clock import NANOSECONDS, SystemClock
from linktrail.config.resolve import Configuration
from linktrail.doctor import Check, Status
from linktrail.errors import LinktrailError
from linktrail.sizes import human_bytes, parse_size
from linktrail.state import State, default_state, open_state

_CAPABILITIES: Final = {"CAP_DAC_READ_SEARCH": 2, "CAP_SYS_ADMIN": 21}
_OPENAT2, _LANDLOCK_CREATE_RULESET = 437, 444  # the same on every architecture
_LANDLOCK_VERSION: Final = 1
_QUEUE: Final = 16_384
_LEAST_FREE: Final = 64 << 20
_FUTURE_SECONDS: Final = 60.0
_BOOT_SECONDS: Final = 5.0
_EARLIEST: Final = 1_700_000_000  # this program did not exist then
_SILENT_SECONDS: Final = 30.0


def checks(configuration: Configuration) -> Iterator[Check]:
    """Yield the checks of this side. Never raises."""
    stores: list[Found] = []
    for check, found in _roots(configuration):
        yield check
        stores += [] if found is None else [found]
    plans: list[WatchPlan] = []
    for store in stores:
        check, plan = _readable(store)
        yield check
        plans += [] if plan is None else [plan]
    unreadable = len(plans) < len(stores)
    yield from _capabilities(configuration, unreadable=unreadable)
    yield _watches(plans)
    yield from _kernel(configuration, [store.root for store in stores])
    yield _clock([store.root for store in stores])
    yield from _state(configuration, [store.root for store in stores])


def _roots(configuration: Configuration) -> Iterator[tuple[Check, Found | None]]:
    named = configuration.text("collect.roots")
    if named is None:
        problems: list[LinktrailError] = []
        found = find_stores(problems.append)
        for problem in problems:
            yield (
                Check("engine configuration", Status.WARNING, problem.message, "Its stores are not found.", problem.advice),
                None,
            )
        for store in found:
            yield Check(f"store {store.root}", Status.OK, store.driver.kind.value), store
        if not found:
            looked = ", ".join(str(root) for root in looked_at())
            todo = "Where this machine has one elsewhere, name it: collect.roots."
            yield Check("stores", Status.NOT_APPLICABLE, f"none found (looked at {looked})", "There is nothing to record here.", todo), None
        return
    for root in map(Path, named.split(os.pathsep)):
        driver = driver_for(root)
        if driver is None:
            means = "collect does not start with it."
            yield (
                Check(f"store {root}", Status.ERROR, "no known store, or not readable", means, "Correct collect.roots."),
                None,
            )
        else:
            yield Check(f"store {root}", Status.OK, driver.kind.value), Found(driver, root)


def _readable(store: Found) -> tuple[Check, WatchPlan | None]:
    """Look into every directory that would be watched."""
    name = f"reading {store.root}"
    todo = "Run as root, or grant CAP_DAC_READ_SEARCH: layer directories are mode 0700."
    try:
        plan = store.driver.watch_plan(store.root)
    except LinktrailError as error:
        return Check(name, Status.ERROR, error.message, "Nothing of this store can be recorded.", error.advice or todo), None
    refused = [item.path for item in plan.items if not _can_list(item.path)]
    if refused:
        words = f"{len(refused)} of {len(plan.items)} directories may not be read, {refused[0]} among them"
        return Check(name, Status.ERROR, words, "What is in them is not recorded.", todo), None
    return Check(name, Status.OK, f"{len(plan.items)} directories to watch"), plan


def _can_list(path: Path) -> bool:
    try:
        with os.scandir(path) as names:
            next(names, None)
    except FileNotFoundError:
        return True  # of a plan, what is not there yet is no harm
    except OSError:
        return False
    return True


def _capabilities(configuration: Configuration, *, unreadable: bool) -> Iterator[Check]:
    held = _held()
    reading = held >> _CAPABILITIES["CAP_DAC_READ_SEARCH"] & 1
    name, call = "CAP_DAC_READ_SEARCH", "openat of layer directories (mode 0700); open_by_handle_at in deep mode"
    if reading:
        yield Check(name, Status.OK, f"held; {call}")
    else:
        status = Status.ERROR if unreadable else Status.WARNING
        means = "Stores of other users than this one cannot be read."
        yield Check(name, status, f"not held; {call}", means, "Grant it, or run as the stores' user.")
    deep, wanted = held >> _CAPABILITIES["CAP_SYS_ADMIN"] & 1, configuration.text("collect.watch") == FANOTIFY
    call = "fanotify_init with FAN_UNLIMITED_QUEUE, and fanotify_mark of a filesystem (deep mode)"
    if deep:
        yield Check("CAP_SYS_ADMIN", Status.OK, f"held; {call}")
    elif wanted:
        yield Check("CAP_SYS_ADMIN", Status.ERROR, f"not held; {call}", "collect falls back to inotify.", "Grant it, or set collect.watch.")
    else:
        yield Check("CAP_SYS_ADMIN", Status.NOT_APPLICABLE, f"not held; {call}", "collect.watch does not ask for deep mode.")


def _held() -> int:
    """Return the effective capabilities of this process, a bit each."""
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0


def _watches(plans: Sequence[WatchPlan]) -> Check:
    need, limits = sum(len(plan.items) for plan in plans), read_limits()
    budget = Budget()
    allowed = budget.allows(need, SystemClock().now())
    words = f"{need} watches needed, limit {limits.watches} for this user; queue of {limits.queued} events"
    if allowed < need:
        todo = f"sysctl fs.inotify.max_user_watches={max(1 << 20, 4 * need)}"
        return Check("inotify limits", Status.ERROR, f"{words}; {budget.words()}", f"{need - allowed} directories go unwatched.", todo)
    if limits.queued < _QUEUE:
        todo = f"sysctl fs.inotify.max_queued_events={_QUEUE}"
        return Check("inotify limits", Status.WARNING, words, "A burst overflows the queue sooner; each time is a gap.", todo)
    return Check("inotify limits", Status.OK, words)


def _kernel(configuration: Configuration, roots: Sequence[Path]) -> Iterator[Check]:
    modes = {mode.name: mode.refused for mode in probe(roots)}
    wanted = configuration.text("collect.watch")
    deep = modes[FANOTIFY]
    if not deep:
        yield Check("fanotify (FAN_REPORT_TARGET_FID)", Status.OK, "deep mode works here")
    else:
        status = Status.ERROR if wanted == FANOTIFY else Status.NOT_APPLICABLE
        yield Check("fanotify (FAN_REPORT_TARGET_FID)", status, deep, "No deep mode: changes inside layers are seen by surveys only.")
    if modes[INOTIFY]:
        yield Check("inotify", Status.ERROR, modes[INOTIFY], "Stores are read every 30 s instead.", "Raise the limit that is named.")
    else:
        yield Check("inotify", Status.OK, "works")
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall(_OPENAT2, -1, None, None, 0)
    if ctypes.get_errno() in (errno.ENOSYS, errno.EPERM):
        words = f"{os.strerror(ctypes.get_errno())}; nothing depends on it, paths are opened a component at a time"
        yield Check("openat2", Status.NOT_APPLICABLE, words)
    else:
        yield Check("openat2", Status.OK, "works")
    version = libc.syscall(_LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_VERSION)
    if version < 1:
        means = "SQL of people is kept from writing by its process' identity alone."
        yield Check("landlock", Status.WARNING, os.strerror(ctypes.get_errno()), means, "Linux 5.13 or newer with lsm=landlock,...")
    else:
        yield Check("landlock", Status.OK, f"version {version}")


def _clock(roots: Sequence[Path]) -> Check:
    now, todo = time.time(), "Set the clock, and keep it set (chrony, systemd-timesyncd)."
    means = "Times of the record are wrong, or overlap with those of other nodes."
    if now < _EARLIEST:
        return Check("clock", Status.ERROR, f"{time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(now))} UTC", means, todo)
    ahead = [root for root in roots if _changed(root) > now + _FUTURE_SECONDS]
    if ahead:
        return Check("clock", Status.WARNING, f"{ahead[0]} was changed in the future by this clock", means, todo)
    booted = _booted()
    moved = 0.0 if booted is None else abs(now - time.clock_gettime(time.CLOCK_BOOTTIME) - booted)
    if moved > _BOOT_SECONDS:
        return Check("clock", Status.WARNING, f"it disagrees with the time of boot by {moved:.0f} s", means, todo)
    return Check("clock", Status.OK, f"{time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(now))} UTC, in keeping with boot and stores")


def _changed(root: Path) -> float:
    try:
        return root.stat().st_ctime
    except OSError:
        return 0.0


def _booted() -> float | None:
    """Return when the kernel says that it booted (seconds UTC); by its own clock, it cannot disagree, a container's view can."""
    for line in Path("/proc/stat").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("btime "):
            return float(line.split()[1])
    return None


def _state(configuration: Configuration, roots: Sequence[Path]) -> Iterator[Check]:
    named = configuration.text("state")
    try:
        state = open_state(Path(named) if named else None, roots)
    except LinktrailError as error:
        yield Check("state directory", Status.ERROR, error.message, "No program starts with it.", error.advice)
        return
    there = next(path for path in (state.path, *state.path.parents) if path.exists())
    told = os.statvfs(there)
    free, limit = told.f_bavail * told.f_frsize, parse_size(configuration.text("collect.spool_limit") or "1GiB")
    words = f"{state.path}, {human_bytes(free)} free on its filesystem, spool limit {human_bytes(limit)}"
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        todo = f"chown it to this user, or name another: state (--state, LINKTRAIL_STATE; now {named or default_state()})"
        yield Check("state directory", Status.ERROR, f"{there} is not writable for this user", "Nothing can be recorded.", todo)
    elif free < _LEAST_FREE:
        yield Check("state directory", Status.ERROR, words, "The spool has no room.", "Free space, or name another directory.")
    elif free < limit:
        todo = "Free space, or lower collect.spool_limit to what there is."
        yield Check("state directory", Status.WARNING, words, "The disk is full before the spool says that it is.", todo)
    else:
        yield Check("state directory", Status.OK, words)
    yield _spool(state.path)


def _spool(state: Path) -> Check:
    try:
        status = read_status(state)
        acknowledged = SpoolReader(State(state).spool).acknowledged()
    except LinktrailError as error:
        return Check("spool", Status.WARNING, error.message, "The collector's state is not known.", error.advice)
    if status is None:
        return Check("spool", Status.NOT_APPLICABLE, "no collector has run here yet")
    silent = time.time() - status.updated_at / NANOSECONDS
    waiting = max(0, status.spool_next - acknowledged)
    words = f"{human_bytes(status.spool_bytes)} of {human_bytes(status.spool_limit)}, {waiting} batches not acknowledged"
    if status.spool_full is not None:
        return Check("spool", Status.ERROR, status.spool_full, "What does not fit is a gap.", "Start what drains it.")
    if status.state == "recording" and silent > _SILENT_SECONDS:
        todo = "Look into its log, and start it again."
        return Check("spool", Status.ERROR, f"{words}; the collector says nothing for {silent:.0f} s", "It has died or hangs.", todo)
    if status.trouble is not None:
        return Check("spool", Status.WARNING, f"{words}; {status.trouble}", "Nothing is lost, but this does not work.")
    return Check("spool", Status.OK, f"{words}; the collector is {'at work' if status.state == 'recording' else status.state}")
