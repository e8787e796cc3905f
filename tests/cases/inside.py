# SPDX-License-Identifier: MIT
"""System calls made by a running vushim against its will: by ptrace its thread is stopped, given
other registers, and let go for one step. So a test sees what an attacker would see who is in charge
of the process, and not only that a filter has been loaded."""
import ctypes
import os
import platform
import signal
import struct
import time

from peers import Failure, Skip, until

ATTACH, DETACH, GETREGS, SETREGS, STEP = 16, 17, 12, 13, 9
ALL_CHILDREN = 0x40000000           # __WALL: threads too
# struct user_regs_struct of x86-64
NAMES = ("r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss "
         "fs_base gs_base ds es fs gs").split()
LAYOUT = f"={len(NAMES)}Q"
ARGUMENTS = ("rdi", "rsi", "rdx", "r10", "r8", "r9")
SYSCALL = b"\x0f\x05"

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
LIBC.ptrace.restype = ctypes.c_long


class Killed(Exception):
    """The process has ended; the signal's number."""


def ptrace(request, tid, data=None):
    if LIBC.ptrace(request, tid, None, data) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class Inside:
    """A thread of a process, stopped. Nobody else may wait for that process meanwhile."""

    def __init__(self, tid):
        if platform.machine() != "x86_64":
            raise Skip("registers are those of x86-64")
        self.tid, self.used = tid, 0
        try:
            ptrace(ATTACH, tid)
        except PermissionError:
            raise Skip("this machine forbids ptrace") from None
        os.waitpid(tid, ALL_CHILDREN)
        self.memory = open(f"/proc/{tid}/mem", "r+b", buffering=0)
        until(self.is_in_call, "the process to stand in a system call")

    def is_in_call(self):
        """It waits there as soon as it has nothing to do."""
        self.before = self.registers()
        if self.peek(self.before["rip"] - 2, 2) == SYSCALL:
            return True
        ptrace(DETACH, self.tid)
        time.sleep(0.01)
        ptrace(ATTACH, self.tid)
        os.waitpid(self.tid, ALL_CHILDREN)
        return False

    def registers(self):
        buffer = ctypes.create_string_buffer(struct.calcsize(LAYOUT))
        ptrace(GETREGS, self.tid, ctypes.addressof(buffer))
        return dict(zip(NAMES, struct.unpack(LAYOUT, buffer.raw)))

    def set_registers(self, registers):
        buffer = ctypes.create_string_buffer(struct.pack(LAYOUT, *(registers[n] for n in NAMES)))
        ptrace(SETREGS, self.tid, ctypes.addressof(buffer))

    def peek(self, address, length):
        self.memory.seek(address)
        return self.memory.read(length)

    def put(self, data):
        """Below the stack, beyond what is in use; returns the address."""
        self.used += (len(data) + 15) // 16 * 16
        address = (self.before["rsp"] - 4096 - self.used) & ~15
        self.memory.seek(address)
        self.memory.write(data)
        return address

    def call(self, number, *arguments):
        """Its result; raises Killed when the process has ended instead."""
        values = [self.put(os.fsencode(a) + b"\0") if isinstance(a, str) else
                  self.put(a) if isinstance(a, bytes) else a & (1 << 64) - 1 for a in arguments]
        registers = dict(self.before, rax=number, orig_rax=(1 << 64) - 1,
                         rip=self.before["rip"] - 2)
        registers.update(zip(ARGUMENTS, values))
        self.set_registers(registers)
        ptrace(STEP, self.tid)
        _, status = os.waitpid(self.tid, ALL_CHILDREN)
        if os.WIFSIGNALED(status) or os.WIFEXITED(status):
            self.memory.close()
            raise Killed(os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0)
        if os.WSTOPSIG(status) != signal.SIGTRAP:
            raise Failure(f"stopped by signal {os.WSTOPSIG(status)}")
        result = self.registers()["rax"]
        return result - (1 << 64) if result >> 63 else result

    def leave(self):
        """It goes on as if nothing had been."""
        self.set_registers(self.before)
        self.memory.close()
        ptrace(DETACH, self.tid)
