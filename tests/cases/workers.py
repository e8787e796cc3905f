# SPDX-License-Identifier: MIT
"""Tests side by side: most of them wait much more than they work."""
import multiprocessing
import os

FORK = multiprocessing.get_context("fork")


def jobs(per_processor):
    return max(1, int(per_processor * len(os.sched_getaffinity(0))))


class Workers:
    """Processes of their own, because a test has its process's one alarm clock. In each, work(self)
    is called once; it take()s one number after the other, and what it finds it say()s."""

    def __init__(self, count, n_workers, work):
        self.count, self.work = count, work
        self.n_taken, self.n_failed = FORK.Value("i", 0), FORK.Value("i", 0)
        self.output = FORK.Lock()
        self.processes = [FORK.Process(target=self.work, args=(self,))
                          for _ in range(max(1, min(n_workers, count)))]

    def take(self):
        """A number below `count`, each once; None when there is none left."""
        with self.n_taken.get_lock():
            self.n_taken.value += 1
            return self.n_taken.value - 1 if self.n_taken.value <= self.count else None

    def say(self, text):
        """One or more lines, that nobody else's words come between."""
        with self.output:
            print(text, flush=True)
        if text.startswith("FAIL "):
            with self.n_failed.get_lock():
                self.n_failed.value += 1

    def run(self):
        """How many lines began with FAIL."""
        try:
            for process in self.processes:
                process.start()
            for process in self.processes:
                process.join()
        finally:
            for process in self.processes:
                if process.is_alive():
                    process.terminate()
                    process.join()
        broken = sum(process.exitcode != 0 for process in self.processes)
        if broken:
            self.say(f"FAIL workers: {broken} of {len(self.processes)} broke off")
        return self.n_failed.value
