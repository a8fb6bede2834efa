"""Several processes train together: when one fails, ends or hangs, all end, and the last line says which and why.

- `callback`: what a run does to be watched: marks of progress, its failure, its end
- `launch`: the watch begins as Lightning starts the processes
- `member`: the thread by which a rank talks to the sentry, and ends
- `sentry`: the process beside rank 0 that hears all ranks and has the last word; `judge`: how it decides
- `link`: messages between them; `processes`: nobody is left behind

Nothing of this runs in a single process. The sentry imports no torch.
"""
