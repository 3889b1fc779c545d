"""A Windows job object that kills its processes when the last handle to it is closed, as it is when the app ends.

Win32: CreateJobObject, SetInformationJobObject with JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE, AssignProcessToJobObject.
"""

from __future__ import annotations

import ctypes
from typing import Any

_EXTENDED_LIMIT_INFORMATION = 9
_KILL_ON_JOB_CLOSE = 0x2000


class _BasicLimits(ctypes.Structure):
    _fields_ = (
        ("PerProcessUserTimeLimit", ctypes.c_int64),
        ("PerJobUserTimeLimit", ctypes.c_int64),
        ("LimitFlags", ctypes.c_uint32),
        ("MinimumWorkingSetSize", ctypes.c_size_t),
        ("MaximumWorkingSetSize", ctypes.c_size_t),
        ("ActiveProcessLimit", ctypes.c_uint32),
        ("Affinity", ctypes.c_size_t),
        ("PriorityClass", ctypes.c_uint32),
        ("SchedulingClass", ctypes.c_uint32),
    )


class _ExtendedLimits(ctypes.Structure):
    _fields_ = (
        ("BasicLimitInformation", _BasicLimits),
        ("IoInfo", ctypes.c_uint64 * 6),
        ("ProcessMemoryLimit", ctypes.c_size_t),
        ("JobMemoryLimit", ctypes.c_size_t),
        ("PeakProcessMemoryUsed", ctypes.c_size_t),
        ("PeakJobMemoryUsed", ctypes.c_size_t),
    )


class Job:
    """Holds one process and all that it starts, for as long as this object lives."""

    def __init__(self, process: int) -> None:
        """`process` is its handle. Where Windows refuses a job, `kill` ends the process alone."""
        self._process = process
        kernel: Any = getattr(ctypes, "WinDLL")("kernel32")  # noqa: B009  # known on Windows alone
        self._kernel = kernel
        self._kernel.CreateJobObjectW.restype = ctypes.c_void_p
        self._job = ctypes.c_void_p(self._kernel.CreateJobObjectW(None, None))
        limits = _ExtendedLimits()
        limits.BasicLimitInformation.LimitFlags = _KILL_ON_JOB_CLOSE
        size = ctypes.sizeof(limits)
        self._kernel.SetInformationJobObject(self._job, _EXTENDED_LIMIT_INFORMATION, ctypes.byref(limits), size)
        self._assigned = bool(self._kernel.AssignProcessToJobObject(self._job, ctypes.c_void_p(process)))

    def kill(self) -> None:
        if self._assigned:
            self._kernel.TerminateJobObject(self._job, 1)
        else:
            self._kernel.TerminateProcess(ctypes.c_void_p(self._process), 1)

    def __del__(self) -> None:
        self._kernel.CloseHandle(self._job)
