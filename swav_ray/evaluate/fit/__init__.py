"""Evaluations that train: what one is (task.py), one worker of it (worker.py), and its directory (directory.py).

Whatever trains, a classifier on frozen features, a whole network or a detector, runs through the same worker: elastic,
saved as pretraining is, and equal bit for bit after a kill to what was not killed. Knows no Ray.

How another evaluation that trains is added:

1. A class with the members of `task.Task`: what one worker trains.
2. A picklable class with the members of `task.Fit`: what it is, how a worker makes its task, and what it says at the
   end. It is handed to the workers through Ray's object store.
3. `launch.fit.run` with that object, a directory of its own, and a `Result` without figures that says what is judged.
4. A command in `evaluate.__main__`. One that learns from labelled images of the usual places is an entry of
   `protocols.ON_IMAGES` and needs no other; one with places of its own adds a parser and calls a function in launch/.
"""
