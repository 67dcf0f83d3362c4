"""Environment variables of Ray that its documentation does not list. Read in Ray 2.60.

Ray ignores a variable that it does not know, so a rename would make runs slower, silently.
"""

from __future__ import annotations

# Ray Train's, read on the driver and passed on to the controller and the workers.
FAST_RECOVERY = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "1",  # 2 in Ray
    # 60 in Ray. Room that was counted is there or it is not: a node that died unseen costs this long.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "10",
    "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "1",  # 5 in Ray
}
# Ray Data's, for the training workers: the process that schedules a segment inherits it from rank 0. Ray's own thread
# for metadata needs one more turn of the scheduling loop to see that a task has ended: a core is idle meanwhile.
METADATA_INLINE = {"RAY_DATA_METADATA_PREFETCH_ON_THREAD": "0"}
