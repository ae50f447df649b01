"""Where rollout jobs run: in this process, or in several of their own.

A worker owns one environment, takes a job, such as all episodes of a task, and hands the whole result back; there is no
message per step. Results come back in the order of the jobs and are the same bits whatever the number of workers.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import traceback
from collections import deque
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol, Self, TypeVar

from metamotor.meta.rollouts import Job, Workplace

Result = TypeVar("Result")

MAX_ATTEMPTS = 3
"""How often a job is given to a new worker before the job itself is blamed for their deaths."""
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Sampler(Protocol):
    """What runs jobs."""

    def collect(self, jobs: Sequence[Job[Result]]) -> list[Result]:
        """Return what each job gives, in order."""
        ...

    def close(self) -> None:
        """Release the environments."""
        ...


class LocalSampler:
    """Runs jobs in this process, on one environment.

    Args:
        family: the task family whose environment to make; or
        env: an environment that is used as it is, for instance a robot.
    """

    def __init__(self, family: Any, env: Any = None) -> None:
        self._workplace = Workplace(family, env)

    def collect(self, jobs: Sequence[Job[Result]]) -> list[Result]:
        """Return what each job gives, in order."""
        return [job.run(self._workplace) for job in jobs]

    def close(self) -> None:
        """Close the environment, if it was made here."""
        self._workplace.close()


class WorkerError(RuntimeError):
    """A worker process failed in a way that is not the caller's mistake."""


class ProcessSampler:
    """Runs jobs in processes of their own, started by spawn; each is given the next job as soon as it is free.

    A worker that dies is replaced and its job run again, with the same seed and so the same result.

    Args:
        family: a task family that can be pickled, so that each worker can make its environment.
        num_workers: how many processes.
    """

    def __init__(self, family: Any, num_workers: int) -> None:
        if num_workers < 1:
            raise ValueError(f"num_workers must be at least 1, got {num_workers}")
        try:
            pickle.dumps(family)
        except Exception as error:
            raise ValueError(
                f"{type(family).__name__} cannot be sent to worker processes ({error}); define it at "
                "the top level of a module, or use num_workers=0 to sample in this process"
            ) from error
        self._family = family
        self._context = multiprocessing.get_context("spawn")
        self._workers = [_Worker(self._context, self._family) for _ in range(num_workers)]

    def collect(self, jobs: Sequence[Job[Result]]) -> list[Result]:
        """Return what each job gives, in order.

        Raises:
            ValueError, TypeError: what the environment raised, with the worker's traceback as a note.
            WorkerError: if a job keeps killing its workers.
        """
        waiting = deque(enumerate(jobs))
        attempts = [0] * len(jobs)
        results: dict[int, Result] = {}
        busy: dict[int, int] = {}
        try:
            while len(results) < len(jobs):
                for slot, worker in enumerate(self._workers):
                    if slot not in busy and waiting:
                        index, job = waiting.popleft()
                        busy[slot] = index
                        attempts[index] += 1
                        worker.send(job)
                for slot in self._ready(busy):
                    index = busy[slot]
                    try:
                        results[index] = self._workers[slot].receive()
                    except (EOFError, OSError) as error:
                        self._replace(slot)
                        if attempts[index] >= MAX_ATTEMPTS:
                            raise _hopeless(jobs[index]) from error
                        waiting.appendleft((index, jobs[index]))
                    del busy[slot]
        except BaseException:
            # Interrupted, or a job failed: what is still under way must not be taken for an answer of the next call.
            for slot in busy:
                self._replace(slot)
            raise
        return [results[index] for index in range(len(jobs))]

    def _replace(self, slot: int) -> None:
        self._workers[slot].close()
        self._workers[slot] = _Worker(self._context, self._family)

    def _ready(self, busy: dict[int, int]) -> list[int]:
        connections = {self._workers[slot].connection: slot for slot in busy}
        return [connections[ready] for ready in wait(list(connections))]

    def close(self) -> None:
        """End the worker processes."""
        for worker in self._workers:
            worker.close()

    def __enter__(self) -> Self:
        """Return the sampler; leaving the block closes it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the sampler."""
        self.close()


def make_sampler(family: Any, num_workers: int) -> LocalSampler | ProcessSampler:
    """Return a sampler in this process for 0 workers, else one with that many processes."""
    return LocalSampler(family) if num_workers == 0 else ProcessSampler(family, num_workers)


def _hopeless(job: Job[Any]) -> WorkerError:
    return WorkerError(
        f"{MAX_ATTEMPTS} worker processes died on {job.task}. A script that samples in processes needs its top "
        "level behind `if __name__ == '__main__':`; num_workers=0 samples in this process"
    )


class _Worker:
    """One process and the pipe to it."""

    def __init__(self, context: Any, family: Any) -> None:
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, family), daemon=True)
        with _one_thread_each():
            self.process.start()
        theirs.close()

    def send(self, job: Job[Any]) -> None:
        # A worker that is dead already is noticed when its answer is awaited.
        with contextlib.suppress(OSError):
            self.connection.send(job)

    def receive(self) -> Any:
        error, answer = self.connection.recv()
        if error is None:
            return answer
        trace = answer
        error.add_note(f"in a rollout worker:\n{trace}")
        raise error

    def close(self) -> None:
        self.connection.close()
        self.process.terminate()
        self.process.join()


@contextlib.contextmanager
def _one_thread_each() -> Iterator[None]:
    # Workers inherit the environment: as many processes as cores, so one thread each.
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _serve(connection: Connection[Any, Any], family: Any) -> None:
    """Answer jobs until the pipe closes: the whole life of a worker process."""
    sampler: LocalSampler | None = None
    while True:
        try:
            job = connection.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            if sampler is None:
                sampler = LocalSampler(family)
            connection.send((None, sampler.collect([job])[0]))
        except KeyboardInterrupt:
            return
        except Exception as error:
            trace = traceback.format_exc()
            try:
                connection.send((error, trace))
            except Exception:  # an error that cannot be pickled is told by its words
                connection.send((WorkerError(f"{type(error).__name__}: {error}"), trace))
