"""Stages for tests of the runner: each ends in a way of its own."""

import os
import signal
import subprocess
import sys
import time

from gpu.work import NoDevice, Skip


def good(work):
    work.figures["answer"] = 42
    work.figures["ratio"] = float("nan")
    work.say("| a | table |")


def fails(work):
    print("before the fault")
    work.fail("3 of 4 differ")
    work.say("the other figures are there")


def raises(work):
    work.figures["so far"] = 1
    work.save()
    raise ZeroDivisionError("made for the test")


def crashes(work):
    os.kill(os.getpid(), signal.SIGSEGV)


def exits(work):
    os._exit(3)


def hangs(work):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    work.figures["child"] = child.pid
    work.save()
    print("hanging", flush=True)
    time.sleep(600)


def skips(work):
    raise Skip("the stand-in ignores it")


def absent(work):
    raise NoDevice("no card here")
