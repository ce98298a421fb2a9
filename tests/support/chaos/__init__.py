"""Chaos: several processes, a backend and a disk that misbehave by a seed, and a judge of what became of it.

    plan     everything that is decided, drawn from the seed beforehand: what the processes do, and when the
             backend, the disk and the signals come in between
    worker   one process of the application: runs its steps and keeps a journal outside the spool
    journal  that journal: one line a write, so that a `kill -9` tears nothing
    backend  servers with moods, which note each record that arrives, and what they said to it
    disk     the spool's file system: filled and freed, files deleted; and a reader of the spool's files that
             shares no code with the engine
    run      plays a plan and collects the evidence
    judge    what must hold of the evidence, whatever happened

The decisions follow the seed; how the processes interleave does not. A seed that failed once may pass the
next time, so a failure names all that is known.
"""
